"""A slip in params.yaml is refused before the first stage, by its key, or it is harmless."""

import importlib
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flows.check import check_params, problems_of
from gamengen.runtime.errors import InputError
from tests.artifacts import make_all, make_autoencoder, make_denoiser
from tests.slips import Slip, slips
from tests.tiny import merged, tiny_params

SEED, RUN_OF_EACH, BUILT = 1, 2, 40
STAGES = ["collect", "autoencoder", "encode", "train", "decoder", "distill", "evaluate"]
TINY = tiny_params({})
TWO_TERMS = [{"backbone": "alex", "weight": 0.3, "share": 0.25, "crop": 32}]
EVERY = list(slips(TINY)) + [
    Slip(f"{section}.perceptual", [merged(TWO_TERMS[0], slip.changes)], slip.is_wrong)
    for section in ("autoencoder", "decoder")
    for slip in slips(TWO_TERMS[0])
    if slip.key
]


def problems(changes: dict[str, Any]) -> list[str]:
    return problems_of(merged(TINY, changes), STAGES)


def accepted_alone(slip: Slip) -> bool:
    """Whether the sections are right each for itself."""
    sections = merged(TINY, slip.changes)
    try:
        for stage in STAGES:
            importlib.import_module(f"stages.{stage}").Params.model_validate(sections[stage])
    except ValueError:
        return False
    return True


@cache
def harmless() -> list[Slip]:
    """Those that no section refuses by itself."""
    return [slip for slip in EVERY if accepted_alone(slip)]


def test_what_is_right_is_accepted() -> None:
    assert problems({}) == []


def test_every_slip_is_refused_by_its_key_or_looks_harmless() -> None:
    assert len(EVERY) > 1500
    for slip in EVERY:
        if slip in harmless():
            assert not slip.is_wrong or str(slip) == "collect.supersampling=True", slip  # 1
            continue
        found = problems(slip.changes)
        assert len(found) == 1, f"{slip}: {found}"
        assert slip.key in found[0], f"{slip}: {found}"


def test_what_looks_harmless_can_be_built_or_is_refused_too() -> None:
    for slip in random.Random(SEED).sample(harmless(), BUILT):
        found = problems(slip.changes)
        assert len(found) <= 1, f"{slip}: {found}"
        assert not found or slip.key in found[0], f"{slip}: {found}"


@pytest.mark.parametrize("section", ["autoencoder", "train", "decoder", "distill", "evaluate"])
def test_what_is_accepted_runs(section: str, tmp_path: Path) -> None:
    episodes, latents, autoencoder, _, student = make_all(tmp_path)
    as_here = {"schedule": TINY["train"]["noise"]}
    denoiser = make_denoiser(tmp_path / "teacher", latents, **as_here)
    inputs = {
        "autoencoder": [episodes],
        "train": [latents, autoencoder],
        "decoder": [episodes, latents, autoencoder],
        "distill": [latents, denoiser],
        "evaluate": [episodes, latents, autoencoder, denoiser, student, tmp_path / "metrics.json"],
    }
    stage = importlib.import_module(f"stages.{section}")
    accepted = [slip for slip in harmless() if slip.key.startswith(f"{section}.")]
    random.Random(SEED).shuffle(accepted)
    fine = (slip for slip in accepted if not problems(slip.changes))
    for slip, _ in zip(fine, range(RUN_OF_EACH), strict=False):
        print(slip)
        params = stage.Params.model_validate(merged(TINY, slip.changes)[section])
        stage.main(params, *inputs[section], tmp_path / "out")
        assert (tmp_path / "out").is_dir()


# Keys that are right each for itself, and the key that is named.
TOGETHER: list[tuple[str, dict[str, Any]]] = [
    ("collect.action_tics", {"collect": {"tics_per_frame": 3}}),
    ("collect.action_tics", {"collect": {"action_tics": 200}}),
    ("collect.agent.batch_size", {"collect": {"agent": {"batch_size": 48}}}),
    ("collect.frames", {"collect": {"agent": {"training_steps": 129}}}),
    ("collect.scenario", {"collect": {"scenario": "nowhere"}}),
    ("autoencoder.source", {"autoencoder": {"kind": "stable-diffusion"}}),
    ("autoencoder.source", {"autoencoder": {"source": "data/pretraned/decoder"}}),
    ("autoencoder.source", {"autoencoder": {"source": "docs"}}),
    (
        "autoencoder.source",
        {
            "autoencoder": {"source": "data/pretrained/decoder"},
            "collect": {"resolution": "320x240"},
        },
    ),
    ("autoencoder.unshuffle", {"autoencoder": {"unshuffle": 64}}),
    ("autoencoder.widths", {"autoencoder": {"widths": [8] * 8}}),
    ("train.unet.widths.1", {"train": {"unet": {"widths": [104, 130]}}}),
    ("train.unet.widths", {"train": {"unet": {"widths": [8] * 4}}}),
    ("train.unet.widths", {"train": {"unet": {"widths": [65536], "blocks": 4}}}),
    ("autoencoder.widths", {"autoencoder": {"widths": [65536], "encoder_blocks": 2}}),
    ("train.unet.head_dim", {"train": {"unet": {"head_dim": 5}}}),
    ("train.unet.source", {"train": {"unet": {"kind": "stable-diffusion"}}}),
    ("train.init", {"train": {"init": "data/pretraned/denoiser"}}),
    ("train.init", {"train": {"init": "docs"}}),
    ("train.objective.targets", {"train": {"objective": {"targets": 81}}}),
    ("train.objective.terminal_share", {"train": {"objective": {"terminal_share": 1.0}}}),
    ("train.noise.timesteps", {"train": {"noise": {"kind": "scaled-linear", "timesteps": 50}}}),
    ("train.sampling.steps", {"train": {"sampling": {"steps": 1001}}}),
    ("train.sampling.guidance", {"train": {"sampling": {"guidance": 1.5}}}),
    ("train.sampling.context_noise", {"train": {"sampling": {"context_noise": 0.31}}}),
    (
        "train.sampling.context_noise",
        {"train": {"sampling": {"context_noise": 0.1}, "augmentation": {"clean_share": 1.0}}},
    ),
    ("train.augmentation.context_dropout", {"train": {"augmentation": {"context_dropout": 0.1}}}),
    ("train.gradient_checkpointing", {"train": {"gradient_checkpointing": True}}),
    ("distill.guidance", {"distill": {"guidance": 1.5}}),
    ("distill.level_margin", {"distill": {"level_margin": 0.0}}),
    ("train.noise.timesteps", {"train": {"noise": {"timesteps": 8}}}),
    (
        "evaluate.teacher_forced.teacher_steps",
        {"evaluate": {"teacher_forced": {"teacher_steps": [1, 2000]}}},
    ),
    (
        "evaluate.autoregressive.teacher_steps",
        {"evaluate": {"autoregressive": {"teacher_steps": [2000]}}},
    ),
    ("evaluate.autoregressive.frames", {"evaluate": {"autoregressive": {"frames": 81}}}),
    ("evaluate.actions.frames", {"evaluate": {"actions": {"frames": 81}}}),
    ("evaluate.room.away", {"evaluate": {"room": {"away": 41}}}),
    ("evaluate.long_play.every", {"evaluate": {"long_play": {"every": 200}}}),
    ("evaluate.fvd.weights", {"evaluate": {"fvd": {"weights": "i3d.pt"}}}),
    ("evaluate.fvd.weights", {"evaluate": {"fvd": {"weights": "i3d.pt", "sha256": "0" * 64}}}),
    ("evaluate.fvd.sha256", {"evaluate": {"fvd": {"weights": "LICENSE", "sha256": "0" * 64}}}),
    (
        "evaluate.fvd.weights",
        {
            "collect": {"rules": {"episode_tics": 60}},
            "evaluate": {
                "fvd": {"weights": "https://example.org/i3d.pt", "sha256": "0" * 64, "videos": 2}
            },
        },
    ),
]


@pytest.mark.parametrize(("key", "changes"), TOGETHER)
def test_what_does_not_go_together_is_refused(key: str, changes: dict[str, Any]) -> None:
    found = problems(changes)
    assert len(found) == 1, found
    assert key in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate": {"actions": {"frames": 81, "starts": 0}}},
        {"train": {"noise": {"kind": "scaled-linear"}}, "distill": {"level_margin": 0.0}},
        {"train": {"init": "/of/another/machine", "unet": {"widths": [16]}}},
        {"autoencoder": {"source": "/of/another/machine"}},
        {"autoencoder": {"kind": "stable-diffusion", "source": "CompVis/stable-diffusion-v1-4"}},
        {"autoencoder": {"source": "data/pretrained/decoder"}},
    ],
)
def test_what_is_not_known_here_or_not_asked_for_is_accepted(changes: dict[str, Any]) -> None:
    assert problems(changes) == []


def test_weights_to_begin_with_fit(made: Path, tmp_path: Path) -> None:
    same = {
        "latent_shape": (4, 16, 20),
        "schedule": TINY["train"]["noise"],
        "augmentation": TINY["train"]["augmentation"],
    }
    source = make_denoiser(tmp_path / "denoiser", made / "latents", **same)
    init = {"init": str(source)}
    assert problems({"train": init}) == []
    for key, other in (
        ("context_frames", {"context_frames": 2}),
        ("noise", {"noise": {"timesteps": 500}}),
        ("augmentation", {"augmentation": {"max_level": 0.2}}),
        ("unet.widths is [8, 16]", {"unet": {"widths": [16, 16]}}),
        ("residual is True", {"residual": False}),
    ):
        (found,) = problems({"train": init | other})
        assert "train.init" in found
        assert key in found


def test_an_autoencoder_to_begin_with_fits(tmp_path: Path) -> None:
    init = {"init": str(make_autoencoder(tmp_path / "autoencoder")), "widths": [8]}
    assert problems({"autoencoder": init}) == []
    (found,) = problems({"autoencoder": init | {"widths": [16]}})
    assert "autoencoder.init" in found
    assert "widths" in found
    (found,) = problems({"autoencoder": {"init": "data/nowhere"}})
    assert "autoencoder.init: 'data/nowhere'" in found


def test_stable_diffusion_in_a_folder_is_looked_at(tmp_path: Path) -> None:
    vae = {"latent_channels": 4, "block_out_channels": [8] * 4}
    unet = {
        "in_channels": 4,
        "block_out_channels": [8, 16, 16, 16],
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
        "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    for part, config in (("vae", vae), ("unet", unet)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    both = {"kind": "stable-diffusion", "source": str(tmp_path)}
    large: dict[str, Any] = {
        "collect": {"resolution": "320x240"},
        "autoencoder": both,
        "train": {"unet": both},
    }
    assert problems(large) == []
    # The paper's network halves three times, which 16 x 20 latents do not allow.
    (found,) = problems(large | {"collect": {"resolution": "160x120"}})
    assert "train.unet" in found
    (found,) = problems(large | {"autoencoder": {"latent_channels": 12}})
    assert "train.unet.source" in found
    assert "12" in found


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    for content in (b"\xff\xfe\x00", b"train: " + b"9" * 5000, b"train: {seed: 1", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"params\.yaml: "):
            check_params(STAGES, path)
