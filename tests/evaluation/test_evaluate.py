"""Stage evaluate: the real entry point on tiny artifacts."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gamengen.evaluation import shards
from gamengen.evaluation.report import pictures
from gamengen.runtime.errors import InputError
from stages import evaluate
from tests.artifacts import make_all, make_autoencoder, make_denoiser, make_episodes
from tests.conftest import Launch
from tests.evaluation.test_fvd import Detector

SETTINGS: dict[str, Any] = {
    "split": "test",
    "seed": 0,
    "batch_size": 3,
    "teacher_forced": {"frames": 16, "teacher_steps": [1, 2]},
    "autoregressive": {"rollouts": 4, "frames": 5, "teacher_steps": [2], "shown": 2},
    "actions": {"starts": 2, "frames": 4},
    "inverse_dynamics": {
        "sees": 3,
        "frames": 60,
        "steps": 2,
        "batch_size": 4,
        "learning_rate": 1e-3,
    },
    "enemies_read": {"frames": 60, "steps": 2, "batch_size": 4, "learning_rate": 1e-3},
    "status_bar": {"frames": 60},
    "room": {"starts": 2, "away": 2},
    "long_play": {"rollouts": 2, "frames": 8, "every": 2},
    "fvd": {"weights": None, "sha256": None, "videos": 2},
}
NAMES = {"copy_last", "student", "steps_1", "steps_2", "autoencoder"}


def settings(**changes: Any) -> evaluate.Params:
    return evaluate.Params.model_validate(SETTINGS | changes)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_all(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def evaluated(artifacts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate.main(settings(), *artifacts, folder / "metrics.json", folder / "report")
    return folder


@pytest.fixture(scope="module")
def told(evaluated: Path) -> dict[str, Any]:
    return json.loads((evaluated / "metrics.json").read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_are_in_plain_words(told: dict[str, Any]) -> None:
    forced, played = told["teacher_forced"], told["autoregressive"]
    assert forced["frames"] == 16
    assert forced["episodes"] == 2
    assert forced.keys() >= NAMES
    assert 0 < forced["moving"]["frames"] < 16
    for name in NAMES:
        for group in (forced, forced["moving"]):
            assert 0 < group[name]["psnr"] < 60
            assert 0 < group[name]["psnr_pooled"] <= group[name]["psnr"] + 0.01
            assert group[name]["lpips_alex"] >= 0
            assert group[name]["lpips_vgg"] >= 0
        assert forced[name]["psnr_95"] > 0
    assert played["frames"] == 5
    assert played.keys() >= NAMES - {"steps_1"}
    assert "steps_1" not in played
    assert played["student"]["psnr_first"] > 0
    assert played["student"]["lpips_vgg_last"] > 0


def test_what_could_not_be_measured_is_null_with_a_reason(told: dict[str, Any]) -> None:
    assert told["fvd_16"] is None
    assert told["fvd_32"] is None
    assert "no I3D weights" in told["fvd_reason"]
    assert told["actions"] == {"reason": "not measured: ViZDoom has no such game"}
    assert told["room"] == told["actions"]
    assert "ViZDoom has no such game" in told["enemies_read"]["reason"]
    assert told["status_bar"] == {"HEALTH": {"frames": 0, "reason": "it never changes there"}}


def test_actions_are_read_one_ahead_and_in_rollouts(evaluated: Path, told: dict[str, Any]) -> None:
    read = told["actions_read"]
    assert read["teacher_forced"].keys() == {"frames", "real", "majority", *NAMES}
    assert read["autoregressive"].keys() == {"frames", "real", "majority", *NAMES} - {"steps_1"}
    assert (read["teacher_forced"]["frames"], read["autoregressive"]["frames"]) == (16, 4 * 5)
    assert all(0 <= read["autoregressive"][name]["accuracy"] <= 1 for name in ("real", "student"))
    page = (evaluated / "report/index.html").read_text()
    assert page.count("read in the frames") == 4, "game, autoencoder, student and denoiser"


def test_which_split_and_whose_lpips_a_loss_saw_is_told(
    evaluated: Path, told: dict[str, Any]
) -> None:
    assert told["split"] == "test"
    assert told["lpips_in_a_loss"] == {"alex": True, "vgg": True}, "a folder that does not say"
    page = (evaluated / "report/index.html").read_text()
    assert "Test episodes only" in page
    assert "LPIPS VGG16 †" in page


def test_curves_are_there_for_plots(evaluated: Path, told: dict[str, Any]) -> None:
    curve = rows(evaluated / "report/autoregressive.csv")
    assert [int(row["step"]) for row in curve] == [1, 2, 4, 5]
    assert float(curve[-1]["student_psnr"]) == told["autoregressive"]["student"]["psnr_last"]
    table = {row["model"]: row for row in rows(evaluated / "report/teacher_forced.csv")}
    assert table.keys() == NAMES
    moving = told["teacher_forced"]["moving"]
    assert float(table["steps_2"]["moving_lpips_vgg"]) == moving["steps_2"]["lpips_vgg"]


def test_pictures_and_video_are_there(evaluated: Path) -> None:
    strips = sorted((evaluated / "report/filmstrips").iterdir())
    assert [strip.name for strip in strips] == ["1.png", "2.png"]
    for strip in strips:
        with Image.open(strip) as picture:
            assert picture.width == 5 * (3 * 48 + pictures.GAP) - pictures.GAP
    with av.open(str(evaluated / "report/rollout.mp4")) as video:
        assert video.streams.video[0].average_rate == 35 / 2
        # Two rollouts of five frames, each after a pause.
        assert sum(1 for _ in video.decode(video=0)) == 2 * (5 + 10)


def test_the_page_needs_nothing_but_itself(evaluated: Path) -> None:
    page = (evaluated / "report/index.html").read_text()
    linked = re.findall(r"""(?:src|href)=["']([^"']{0,40})|url\(([^)]{0,40})|@import""", page)
    assert linked
    assert all("".join(link).startswith("data:") for link in linked)
    assert "<script" not in page
    assert str(evaluated) not in page


def test_nothing_else_is_left(evaluated: Path) -> None:
    assert sorted(path.name for path in evaluated.iterdir()) == [
        ".resume",
        "metrics.json",
        "report",
    ]
    assert not list((evaluated / ".resume").iterdir())
    assert sorted(path.name for path in (evaluated / "report").iterdir()) == [
        "SHA256SUMS",
        "autoregressive.csv",
        "filmstrips",
        "index.html",
        "one_frame_ahead.png",
        "rollout.mp4",
        "teacher_forced.csv",
    ]


def test_interrupted_it_goes_on_and_ends_the_same(
    artifacts: list[Path],
    evaluated: Path,
    told: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved, save = [], shards._save

    def stop_after_three(path: Path, table: shards.Table) -> None:
        save(path, table)
        saved.append(path.name)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_save", stop_after_three)
    out = tmp_path / "metrics.json", tmp_path / "report"
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(settings(), *artifacts, *out)
    assert not any(path.exists() for path in out)
    evaluate.main(settings(), *artifacts, *out)
    assert len(saved) == len(set(saved))
    assert json.loads(out[0].read_text()) == told
    page = (evaluated / "report/index.html").read_bytes()
    assert (out[1] / "index.html").read_bytes() == page


def test_two_processes_find_what_one_finds(
    artifacts: list[Path], told: dict[str, Any], tmp_path: Path, launch: Launch
) -> None:
    out = tmp_path / "metrics.json", tmp_path / "report"
    said = launch("evaluate", *artifacts, *out, changes={"evaluate": SETTINGS}, processes=2)
    assert "one frame ahead" in said
    found = json.loads(out[0].read_text())
    assert found["teacher_forced"]["frames"] == told["teacher_forced"]["frames"]
    for name in NAMES:
        one, two = told["teacher_forced"][name], found["teacher_forced"][name]
        assert two == pytest.approx(one, abs=0.02)


def test_fvd_is_measured_where_weights_are_given(artifacts: list[Path], tmp_path: Path) -> None:
    weights = tmp_path / "i3d.pt"
    torch.jit.script(Detector()).save(str(weights))
    source = {
        "weights": str(weights),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "videos": 4,
    }
    few = {"frames": 2, "teacher_steps": [1]}
    played = {"rollouts": 2, "frames": 2, "teacher_steps": [1], "shown": 1}
    none = {"starts": 0, "frames": 3}
    params = settings(fvd=source, teacher_forced=few, autoregressive=played, actions=none)
    evaluate.main(params, *artifacts, tmp_path / "metrics.json", tmp_path / "report")
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["fvd_videos"] == 4
    for name in ("student", "steps_1", "copy_last", "autoencoder"):
        assert told["fvd_16"][name] > 0
        assert told["fvd_32"][name] > 0
    assert "starts is 0" in told["actions"]["reason"]
    assert str(told["fvd_16"]["student"]) in (tmp_path / "report/index.html").read_text()


# Bad input


def refused(match: str, artifacts: list[Path], out: Path, **changes: Any) -> None:
    with pytest.raises(InputError, match=match):
        evaluate.main(settings(**changes), *artifacts, out / "metrics.json", out / "report")
    assert not (out / "report").exists()


def test_artifacts_that_do_not_belong_together_are_refused(
    artifacts: list[Path], tmp_path: Path
) -> None:
    episodes, latents, decoder, denoiser, student = artifacts
    other = make_autoencoder(tmp_path / "other", seed=5)
    refused("come from autoencoder", [episodes, latents, other, denoiser, student], tmp_path)
    longer = make_denoiser(tmp_path / "longer", latents, context_frames=4)
    refused(
        r"longer/config\.json: context_frames: 4, but .*denoiser has 3",
        [episodes, latents, decoder, denoiser, longer],
        tmp_path,
    )
    strange = make_denoiser(tmp_path / "strange", latents, autoencoder="0" * 64)
    refused(
        r"strange/config\.json: autoencoder", [episodes, latents, decoder, denoiser, strange],
        tmp_path,
    )  # fmt: skip
    more = make_episodes(tmp_path / "more", episodes=7)
    refused("5 episodes, .*more has 7", [more, latents, decoder, denoiser, student], tmp_path)
    nothing = tmp_path / "nothing"
    refused("nothing", [episodes, latents, decoder, denoiser, nothing], tmp_path)


def test_weights_of_another_checksum_are_refused_before_any_work(
    artifacts: list[Path], tmp_path: Path
) -> None:
    weights = tmp_path / "i3d.pt"
    weights.write_bytes(b"something")
    source = {"weights": str(weights), "sha256": "0" * 64, "videos": 2}
    refused(r"i3d\.pt: sha256 is [0-9a-f]{64}, .* says 0{64}", artifacts, tmp_path, fvd=source)
    assert not (tmp_path / ".resume").exists()


def test_what_the_data_or_the_model_cannot_give_is_refused(
    artifacts: list[Path], tmp_path: Path
) -> None:
    played = SETTINGS["autoregressive"] | {"frames": 40}
    refused("40 frames needs a held-out episode", artifacts, tmp_path, autoregressive=played)
    forced = SETTINGS["teacher_forced"] | {"teacher_steps": [101]}
    refused(r"\[101\]: the denoiser has 100 timesteps", artifacts, tmp_path, teacher_forced=forced)


def test_a_truncated_store_is_refused(artifacts: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(artifacts[1], tmp_path / "latents")
    largest = max(copy.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    refused("truncated", [artifacts[0], copy, *artifacts[2:]], tmp_path)


def test_unknown_and_missing_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        settings(frames=3)
    with pytest.raises(ValidationError, match="Field required"):
        evaluate.Params.model_validate({k: v for k, v in SETTINGS.items() if k != "fvd"})


def test_without_a_student_the_denoiser_is_measured_alone(
    artifacts: list[Path], tmp_path: Path
) -> None:
    paths = [*artifacts[:4], artifacts[3], tmp_path / "metrics.json", tmp_path / "report"]
    few = SETTINGS["teacher_forced"] | {"frames": 4}
    evaluate.main(settings(teacher_forced=few), *paths)
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert "student" not in told["teacher_forced"]
