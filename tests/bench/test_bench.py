import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gamengen.backends.eager import Eager
from gamengen.bench import full_size
from gamengen.bench import run as bench
from gamengen.bench.speed import play
from gamengen.data.episodes import Episodes
from gamengen.model.weights import load_weights
from gamengen.play.dream import Dream, Settings, black, defaults
from tests.dreams import Made

SMALL_UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
SMALL_AUTOENCODER = full_size.AUTOENCODER | {
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


def test_the_table_says_what_was_measured(
    playable_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    places = ["--model", str(playable_data), "--out", str(out)]
    short = ["--seconds", "0.1", "--no-full-size", "--steps", "1", "2"]
    told = bench.parse([*places, *short, "--backends", "eager", "xla", "openvino"])
    assert bench.main(told) == 0
    printed = capsys.readouterr().out
    assert "PJRT_DEVICE is not set" in printed
    assert f"\n{playable_data}\n" in printed
    written = json.loads(out.read_text())
    assert torch.__version__.startswith(written["machine"]["versions"]["torch"])
    rows = written["rows"]
    assert [
        (row["backend"], row["settings"]["sampling"]["steps"]) for row in rows if row["speed"]
    ] == [
        ("eager", 1),
        ("eager", 2),
        ("openvino", 1),
        ("openvino", 2),
    ]
    usual = defaults(load_weights(playable_data))
    assert rows[0]["settings"] == asdict(usual["student"])
    assert rows[1]["settings"] == asdict(
        Settings("teacher", replace(usual["teacher"].sampling, steps=2))
    )
    for row in rows:
        if speed := row["speed"]:
            tics = Episodes(playable_data / "episodes").game.tics_per_frame
            assert speed["real_time"] == pytest.approx(speed["fps"] * tics / 35)
            parts = sum(speed[part]["p50"] for part in ("denoise", "decode", "picture"))
            assert parts < 1.5 * speed["frame"]["p50"]
            assert f"{speed['fps']:.1f}" in printed


def test_a_place_that_is_not_there_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.parse(["--out", str(tmp_path / "none/bench.json")])
    assert "there is no folder" in capsys.readouterr().err


def test_the_papers_size_plays(playable: Made) -> None:
    """With narrow networks: the shapes are those of 64 frames at 320x256."""
    weights = full_size.full_size(playable.weights.teacher.game, SMALL_UNET, SMALL_AUTOENCODER)
    assert weights.teacher.latent_shape == (4, 32, 40)
    assert weights.teacher.net.unet.config["in_channels"] == 4 * 65
    dream = Dream(weights, Eager(torch.device("cpu")))
    speed = play(dream, black(dream.facts), seconds=0)
    assert speed.frames == 3
    assert dream.frame.shape == (256, 320, 3)


def test_a_slow_machine_skips_what_would_be_slower(
    playable: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "TOO_SLOW", 0)
    told = bench.parse(["--seconds", "0.01", "--backends", "eager", "compile", "--steps", "1"])
    rows = list(bench.measure("tiny", playable.weights, playable.history, told))
    assert [row.speed is None for row in rows] == [False, True]
    assert rows[1].note.startswith("not tried: eager takes")


def test_nothing_made_yet_is_an_error_that_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(bench.parse(["--model", str(tmp_path)])) == 2
    assert "make repro" in capsys.readouterr().err


def test_a_back_end_that_cannot_run_is_a_row_and_the_rest_goes_on(
    playable_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    places = ["--model", str(playable_data), "--out", str(out), "--no-full-size", "--steps", "1"]
    told = bench.parse([*places, "--seconds", "0.1", "--backends", "eager", "compile", "openvino"])
    # Else what an earlier run has compiled would do.
    missing = {"cpp.cxx": ("/no/such/compiler",), "fx_graph_cache": False}
    with torch._inductor.config.patch(missing):
        assert bench.main(told) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["speed"] is None for row in rows] == [False, True, False]
    assert "No working C++ compiler" in rows[1]["note"]
    assert "\n" not in rows[1]["note"]
    assert rows[1]["note"] in capsys.readouterr().out
