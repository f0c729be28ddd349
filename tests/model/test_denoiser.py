import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding

import stages
from gamengen.data.latents import Latents
from gamengen.model.denoiser import (
    Denoiser,
    drop_context,
    load_denoiser,
    require_match,
    timestep_embedding,
)
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import Sampler, guided_velocity
from gamengen.model.warm_start import from_stable_diffusion, warm_start
from gamengen.runtime.errors import InputError
from stages import decoder, distill, train
from tests import tiny
from tests.artifacts import awake, make_autoencoder, make_denoiser, make_latents


def some_inputs(denoiser: Denoiser, batch: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shape = denoiser.latent_shape
    return {
        "x_t": torch.randn(batch, *shape),
        "context": torch.randn(batch, denoiser.context_frames, *shape),
        "actions": torch.randint(3, (batch, denoiser.context_frames)),
        "level_class": torch.zeros(batch, dtype=torch.long),
    }


def stable_diffusion_facts(latents: Latents, **changes: Any) -> dict[str, Any]:
    return {
        "latent_shape": latents.autoencoder.latent_shape,
        "context_frames": 3,
        "game": latents.game.model_dump(),
        "autoencoder": latents.autoencoder.encoder_sha256,
        "schedule": tiny.tiny_params({})["train"]["noise"],
        "augmentation": tiny.tiny_params({})["train"]["augmentation"],
        "residual_std": None,
        "sampling": {"steps": 4},
    } | changes


@pytest.fixture(scope="module")
def text_unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small U-Net in Stable Diffusion's layout."""
    folder = tmp_path_factory.mktemp("sd")
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    return folder


def test_starting_from_stable_diffusion_the_frames_are_unseen_at_first(
    text_unet: Path, made: Path
) -> None:
    denoiser = from_stable_diffusion(
        str(text_unet), **stable_diffusion_facts(Latents(made / "latents"))
    ).eval()
    old = UNet2DConditionModel.from_pretrained(text_unet / "unet").eval()
    inputs = some_inputs(denoiser)
    t = torch.tensor([10, 900])
    torch.nn.init.zeros_(denoiser.net.unet.class_embedding.weight)
    with torch.no_grad():
        tokens = denoiser.net.action(inputs["actions"]) + denoiser.net.position
        expected = old(inputs["x_t"], t, tokens).sample
        found = denoiser(inputs["x_t"], t, *list(inputs.values())[1:])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert denoiser.net.unet.conv_in.weight.shape[1] == 4 * (3 + 1)


def test_a_unet_for_other_latents_is_refused(text_unet: Path, made: Path, tmp_path: Path) -> None:
    facts = stable_diffusion_facts(Latents(made / "latents"), latent_shape=(8, 8, 12))
    with pytest.raises(InputError, match=r"denoises 4 channels, the latents have 8"):
        from_stable_diffusion(str(text_unet), **facts)
    with pytest.raises(InputError, match=r"train\.unet\.source: '.*nowhere'"):
        from_stable_diffusion(str(tmp_path / "nowhere"), **facts)


def test_an_untrained_denoiser_predicts_the_last_frame(made: Path) -> None:
    """Its last layer is zero: from pure noise, one step changes nothing."""
    denoiser = load_denoiser(made / "denoiser")
    inputs = some_inputs(denoiser)
    sampled = Sampler(denoiser, Sampling(steps=1)).next_latent(
        inputs["context"], inputs["actions"], inputs["x_t"]
    )
    torch.testing.assert_close(sampled, inputs["context"][:, -1])


def test_latents_that_cannot_be_halved_at_every_resolution_are_refused(
    made: Path, tmp_path: Path
) -> None:
    settings = tiny.params(train.Params, "train", unet={"widths": [8, 8, 8, 8, 8]})
    with pytest.raises(InputError, match=r"unet\.widths: .* 5 widths .* of 16; .* 8 x 12"):
        train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")


def test_a_residual_to_a_dropped_frame_is_refused() -> None:
    given = tiny.tiny_params({"train": {"augmentation": {"context_dropout": 0.1}}})["train"]
    with pytest.raises(ValueError, match=r"augmentation\.context_dropout: 0\.1: must be 0"):
        train.Params.model_validate(given)


def test_every_past_frame_and_action_reaches_the_prediction(made: Path) -> None:
    denoiser = awake(load_denoiser(made / "denoiser"))
    inputs = some_inputs(denoiser, batch=1)
    t = torch.tensor([50])
    with torch.no_grad():
        before = denoiser(inputs["x_t"], t, *list(inputs.values())[1:])
        for frame in range(denoiser.context_frames):
            context, actions = inputs["context"].clone(), inputs["actions"].clone()
            context[:, frame] += 1
            actions[:, frame] = (actions[:, frame] + 1) % 3
            for changed in ({"context": context}, {"actions": actions}):
                after = denoiser(inputs["x_t"], t, *list((inputs | changed).values())[1:])
                assert not torch.allclose(before, after, atol=1e-7), (frame, list(changed))


def test_guidance_is_linear_and_weight_one_is_none(made: Path) -> None:
    denoiser = awake(load_denoiser(made / "denoiser"))
    inputs = some_inputs(denoiser)

    def velocity(guidance: float) -> torch.Tensor:
        with torch.no_grad():
            return guided_velocity(
                denoiser,
                guidance=guidance,
                null_context_class=denoiser.null_context_class,
                t=50,
                **inputs,
            )

    without = torch.full((2,), denoiser.null_context_class)
    with torch.no_grad():
        dropped = denoiser(
            inputs["x_t"],
            torch.tensor([50, 50]),
            torch.zeros_like(inputs["context"]),
            inputs["actions"],
            without,
        )
    expected = dropped + 1.5 * (velocity(1.0) - dropped)
    torch.testing.assert_close(velocity(1.5), expected, atol=1e-5, rtol=1e-4)


def test_dropped_context_is_zeros_of_a_class_of_its_own() -> None:
    context, level_class = torch.randn(3, 2, 4, 2, 2), torch.tensor([0, 1, 2])
    dropped = torch.tensor([True, False, True])
    kept, classes = drop_context(context, level_class, dropped, null_context_class=7)
    assert classes.tolist() == [7, 1, 7]
    assert torch.equal(kept[1], context[1])
    assert kept[0].abs().max() == 0


def test_rollout_feeds_its_own_frames_back_with_the_actions_that_led_to_them(made: Path) -> None:
    denoiser = awake(load_denoiser(made / "denoiser"))
    inputs = some_inputs(denoiser, batch=1)
    sampler = Sampler(denoiser, Sampling(steps=2))
    actions = torch.tensor([[1, 2]])
    generator = torch.Generator().manual_seed(3)
    first, second = sampler.rollout(inputs["context"], inputs["actions"], actions, generator)
    generator = torch.Generator().manual_seed(3)
    noise = [sampler.draw(inputs["context"], generator)[0] for _ in range(2)]
    past = torch.cat([inputs["actions"][:, :-1], actions[:, :1]], 1)
    torch.testing.assert_close(first, sampler.next_latent(inputs["context"], past, noise[0]))
    context = torch.cat([inputs["context"][:, 1:], first[:, None]], 1)
    past = torch.cat([past[:, 1:], actions[:, 1:]], 1)
    torch.testing.assert_close(second, sampler.next_latent(context, past, noise[1]))


@pytest.mark.parametrize(
    ("field", "facts"),
    [("autoencoder", {"autoencoder": "b" * 64}), ("latent_shape", {"latent_shape": (4, 8, 8)})],
)
def test_a_denoiser_of_other_latents_is_refused(
    made: Path, tmp_path: Path, field: str, facts: dict[str, Any]
) -> None:
    other = make_denoiser(tmp_path / "other", made / "latents", **facts)
    latents = Latents(made / "latents")
    with pytest.raises(InputError, match=rf"config\.json: {field}: .*dvc repro train"):
        require_match(load_denoiser(other), other, made, latents.autoencoder, latents.game)
    settings = tiny.params(distill.Params, "distill")
    with pytest.raises(InputError, match=field):
        distill.main(settings, made / "latents", other, tmp_path / "student")


def test_latents_of_another_autoencoder_are_refused(made: Path, tmp_path: Path) -> None:
    other = make_autoencoder(tmp_path / "other", seed=9)
    settings = tiny.params(decoder.Params, "decoder")
    inputs = (made / "episodes", made / "latents", other, tmp_path / "out")
    with pytest.raises(InputError, match="dvc repro encode"):
        decoder.main(settings, *inputs)


def test_a_source_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"source: None: name a hub model or a folder"):
        tiny.params(train.Params, "train", unet={"kind": "stable-diffusion"})


def test_no_denoiser_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dvc repro train"):
        load_denoiser(tmp_path)


def test_training_refuses_the_decoder_of_other_latents(made: Path, tmp_path: Path) -> None:
    other = make_autoencoder(tmp_path / "other", seed=9)
    settings = tiny.params(train.Params, "train")
    with pytest.raises(InputError, match="dvc repro encode"):
        train.main(settings, made / "latents", other, tmp_path / "out")


def test_a_warm_start_keeps_known_actions_and_gives_new_ones_a_row(
    made: Path, tmp_path: Path
) -> None:
    source = load_denoiser(make_denoiser(tmp_path / "source", made / "latents", seed=5))
    game = source.game.model_dump()
    game["action_names"] = ["JUMP", "NOTHING", "TURN_RIGHT", "ATTACK"]
    ours = load_denoiser(make_denoiser(tmp_path / "ours", made / "latents", seed=6, game=game))
    before = ours.net.action.weight.detach().clone().unflatten(0, (3, 5))
    warm_start(ours, tmp_path / "source")
    rows = ours.net.action.weight.unflatten(0, (3, 5))
    theirs = source.net.action.weight.unflatten(0, (3, 5))
    assert torch.equal(rows[:, 0], before[:, 0])
    for ours_at, theirs_at in ((1, 0), (2, 2), (3, 3), (4, 4)):
        assert torch.equal(rows[:, ours_at], theirs[:, theirs_at])
    assert torch.equal(ours.net.unet.conv_in.weight, source.net.unet.conv_in.weight)


def test_a_warm_start_from_another_network_is_refused(made: Path, tmp_path: Path) -> None:
    make_denoiser(tmp_path / "longer", made / "latents", context_frames=4)
    settings = tiny.params(train.Params, "train", init=str(tmp_path / "longer"))
    with pytest.raises(
        InputError, match=r"train\.init: .*context_frames is 4 there, but 3 in params"
    ):
        train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")


def test_a_warm_start_from_another_width_names_the_number(made: Path, tmp_path: Path) -> None:
    ours = load_denoiser(make_denoiser(tmp_path / "ours", made / "latents"))
    wider = {**ours.config["network"], "widths": [16, 16]}
    make_denoiser(tmp_path / "wider", made / "latents", network=wider)
    with pytest.raises(InputError, match=r"unet\.widths is \[16, 16\] there, but \[8, 16\] in"):
        warm_start(ours, tmp_path / "wider")


def test_a_warm_start_tells_of_another_encoder(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tiny.tiny_params({})["train"]
    facts = {"schedule": numbers["noise"], "augmentation": numbers["augmentation"]}
    others = make_autoencoder(tmp_path / "autoencoder", seed=9)
    latents = make_latents(tmp_path / "latents", made / "episodes", others)
    make_denoiser(tmp_path / "source", latents, **facts)
    settings = tiny.params(train.Params, "train", init=str(tmp_path / "source"))
    train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")
    assert "trained on another encoder's latents" in capsys.readouterr().out
    assert (
        load_denoiser(tmp_path / "out").config["autoencoder"]
        == (load_denoiser(made / "denoiser").config["autoencoder"])
    )


def test_a_warm_start_trains_on(made: Path, tmp_path: Path) -> None:
    numbers = tiny.tiny_params({})["train"]
    facts = {"schedule": numbers["noise"], "augmentation": numbers["augmentation"]}
    make_denoiser(tmp_path / "source", made / "latents", residual_std=0.123, **facts)
    settings = tiny.params(train.Params, "train", init=str(tmp_path / "source"))
    train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")
    assert load_denoiser(tmp_path / "out").residual_std == 0.123


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sampling": {"context_noise": 0.8}}, r"sampling\.context_noise: 0\.8: .* 0 and 0\.3"),
        ({"sampling": {"steps": 1001}}, r"sampling\.steps: 1001: .* 1 and 1000"),
        ({"sampling": {"guidance": 1.5}}, r"sampling\.guidance: 1\.5: must be 1"),
        ({"gradient_checkpointing": True}, r"gradient_checkpointing: true: .* false"),
    ],
)
def test_what_training_cannot_give_is_refused_before_it(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        train.Params.model_validate(tiny.tiny_params({"train": changes})["train"])


def test_a_network_of_unknown_kind_is_refused(made: Path) -> None:
    config = load_denoiser(made / "denoiser").config
    config["network"]["kind"] = "large"
    with pytest.raises(InputError, match=r"network\.kind: 'large': there are small, stable-"):
        Denoiser(**config)


def test_timesteps_are_embedded_as_diffusers_does() -> None:
    t = torch.tensor([0, 1, 500, 999])
    torch.testing.assert_close(
        timestep_embedding(t, 64), get_timestep_embedding(t, 64), atol=0, rtol=0
    )


def test_diffusers_is_imported_only_for_stable_diffusion() -> None:
    """It takes longer than all else that a stage or the page imports."""
    names = [f"stages.{path.stem}" for path in Path(stages.__path__[0]).glob("[a-z]*.py")]
    modules = ", ".join([*names, "gamengen.play.server"])
    code = f"import sys, {modules}\nassert 'diffusers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_networks_code_is_imported_before_it_tells_whose_checkpoint_is_whose(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``code_fingerprint`` sees what was imported: Stable Diffusion's network is only by then."""
    called = []

    def stop(*_: object) -> None:
        called.append("resume_folder")
        raise KeyboardInterrupt

    def build(*told: Any) -> Denoiser:
        called.append("build")
        return built(*told)

    built = train.build
    monkeypatch.setattr(train, "build", build)
    monkeypatch.setattr(train, "resume_folder", stop)
    settings = tiny.params(train.Params, "train")
    with pytest.raises(KeyboardInterrupt):
        train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")
    assert called == ["build", "resume_folder"]
