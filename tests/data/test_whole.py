"""What is published was written, row by row, and what was begun otherwise is not gone on with."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import load_file, save_file

from gamengen.data.columns import written
from gamengen.data.encoding import read_facts
from gamengen.data.episodes import Episode, Episodes, EpisodeWriter
from gamengen.data.index import Index, write_index
from gamengen.data.latents import LatentIndex, Latents, LatentWriter
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import load_denoiser
from gamengen.model.network import WEIGHTS, save_model
from gamengen.runtime import device, resume
from gamengen.runtime.errors import InputError
from stages import encode, evaluate
from tests.artifacts import (
    awake,
    game_facts,
    make_all,
    make_autoencoder,
    make_denoiser,
    make_entry,
    play,
)
from tests.evaluation.test_evaluate import settings
from tests.tiny import params

LENGTH, SHAPE = 40, (32, 48, 3)


def black(length: int) -> Episode:
    """Nothing but zeros: what a chunk that is missing would read as."""
    zeros = np.zeros(length, np.float32)
    variables = dict.fromkeys(game_facts().variables, zeros)
    return Episode(np.zeros((length, *SHAPE), np.uint8), zeros.astype(np.int32), zeros, variables)


def assert_same(ours: Path, theirs: Path) -> None:
    one, two = Latents(ours), Latents(theirs)
    by_id = {entry.id: entry for entry in two.entries}
    for entry in one.entries:
        found = one.latents(entry, 0, entry.length)
        assert found.any()
        np.testing.assert_array_equal(found, two.latents(by_id[entry.id], 0, entry.length))
        actions = one.actions(entry, 0, entry.length)
        np.testing.assert_array_equal(actions, two.actions(by_id[entry.id], 0, entry.length))


def cut_off(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding that has written all its latents and finds the disk full at its end."""

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(encode, "write_index", full)
        with pytest.raises(OSError, match="disk full"):
            encode.main(params(encode.Params, "encode"), *paths)


def test_encoding_that_failed_at_its_end_goes_on_with_its_latents(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [made / "episodes", made / "autoencoder"]
    cut_off([*inputs, tmp_path / "latents"], monkeypatch)
    encode.main(params(encode.Params, "encode"), *inputs, tmp_path / "latents")
    encode.main(params(encode.Params, "encode"), *inputs, tmp_path / "other")
    assert_same(tmp_path / "latents", tmp_path / "other")
    assert not list(tmp_path.glob(".resume/*"))


def test_the_number_of_processes_and_the_stage_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage under its own name too, as a launcher imports it that starts one per chip."""
    device.start()
    asked = params(encode.Params, "encode"), [], tmp_path / "out"
    keys = {resume.resume_folder(*asked)}
    with monkeypatch.context() as patched:
        two = SimpleNamespace(num_processes=2, is_main_process=True)
        patched.setattr(resume, "PartialState", lambda: two)
        keys.add(resume.resume_folder(*asked))
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "stages.encode")
        keys.add(resume.resume_folder(*asked))
    assert len(keys) == 3


def test_zeros_are_written_like_anything_else(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "one.zarr", game_facts())
    writer.append(black(LENGTH))
    writer.flush()
    write_index(tmp_path, Index(game=game_facts(), entries=[make_entry(0, LENGTH)]))
    episodes = Episodes(tmp_path)
    assert not episodes.frames(episodes.entries[0]).any()


@pytest.mark.parametrize("column", ["frames", "actions", "variables/ANGLE"])
def test_episodes_are_not_published_with_rows_that_were_never_written(
    column: str, tmp_path: Path
) -> None:
    writer = EpisodeWriter(tmp_path / "one.zarr", game_facts())
    writer.append(play(LENGTH, 32, 48, 0))
    writer.flush()
    index = Index(game=game_facts(), entries=[make_entry(0, LENGTH)])
    shutil.rmtree(tmp_path / "one.zarr" / column / "c")
    with pytest.raises(InputError, match=rf"{column}: holds 0 rows, there must be {LENGTH}"):
        write_index(tmp_path, index)
    shutil.rmtree(tmp_path / "one.zarr" / column)
    with pytest.raises(InputError, match=rf"{column}: damaged"):
        write_index(tmp_path, index)


def test_latents_are_neither_published_nor_read_with_a_hole(made: Path, tmp_path: Path) -> None:
    """In the middle of a shard: the file itself is there."""
    facts = read_facts(made / "autoencoder")
    writer = LatentWriter(tmp_path / "one.zarr", 256, facts.latent_shape)
    rows = np.ones((64, *facts.latent_shape), np.float16)
    for first in (0, 128, 192):
        writer.write(first, rows, np.zeros(64, np.int32))
    assert writer.written == 64
    index = LatentIndex(
        game=game_facts(), autoencoder=facts, entries=[make_entry(0, 256)], change_std=1.0
    )
    with pytest.raises(InputError, match="latents: holds 64 rows, there must be 256"):
        write_index(tmp_path, index)
    writer.write(64, rows, np.zeros(64, np.int32))
    assert written(tmp_path / "one.zarr", "latents", 256, "") == 256
    write_index(tmp_path, index)
    with_hole = tmp_path / "with-hole"
    shutil.copytree(tmp_path / "one.zarr", with_hole / "one.zarr")
    zarr.open_group(with_hole / "one.zarr", mode="a")["latents"][64:128] = 0  # a hole to Zarr
    index_text = (tmp_path / "index.json").read_text()
    for file in (f"one.zarr/latents/{name}" for name in ("zarr.json", "c/0/0/0/0")):
        old, new = ((folder / file).stat().st_size for folder in (tmp_path, with_hole))
        index_text = index_text.replace(f'"{file}": {old}', f'"{file}": {new}')
    (with_hole / "index.json").write_text(index_text)
    with pytest.raises(InputError, match="latents: holds 64 rows, there must be 256"):
        Latents(with_hole)


def test_a_latent_that_is_not_finite_is_named(made: Path, tmp_path: Path) -> None:
    autoencoder = Autoencoder.load(made / "autoencoder")
    tiny = autoencoder.facts.model_copy(update={"latent_std": [1e-9] * 4})
    Autoencoder(autoencoder.net, tiny).save(tmp_path / "autoencoder")
    with pytest.raises(InputError, match=r"autoencoder: makes a latent .* episode \d+, frame \d+"):
        encode.main(
            params(encode.Params, "encode"),
            made / "episodes",
            tmp_path / "autoencoder",
            tmp_path / "latents",
        )
    assert not (tmp_path / "latents").exists()


def test_an_evaluation_of_what_is_not_finite_is_an_error(tmp_path: Path) -> None:
    episodes, latents, decoder, _, student = make_all(tmp_path)
    broken = awake(load_denoiser(student))
    with torch.no_grad():
        for weight in broken.parameters():
            weight.mul_(1e9)
    shutil.rmtree(student)
    save_model(broken, student)
    out = tmp_path / "metrics.json", tmp_path / "report"
    with pytest.raises(InputError, match="is not finite"):
        evaluate.main(settings(), episodes, latents, decoder, tmp_path / "denoiser", student, *out)
    assert not any(path.exists() for path in out)


def test_weights_that_are_not_finite_are_neither_read_nor_written(
    made: Path, tmp_path: Path
) -> None:
    for load, folder in (
        (Autoencoder.load, make_autoencoder(tmp_path / "decoder")),
        (load_denoiser, make_denoiser(tmp_path / "denoiser", made / "latents")),
    ):
        net = load(folder)
        weights = load_file(folder / WEIGHTS)
        next(iter(weights.values())).view(-1)[0] = torch.nan
        save_file(weights, folder / WEIGHTS, {"format": "pt"})
        with pytest.raises(InputError, match=r"1 of .* tensors are not finite"):
            load(folder)
        weight = next(net.parameters())
        weight.data.fill_(torch.inf)
        with pytest.raises(InputError, match=r"1 of .* tensors are not finite"):
            save_model(net.net if isinstance(net, Autoencoder) else net, tmp_path)
