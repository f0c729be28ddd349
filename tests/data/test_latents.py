from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents, Windows, pad_history
from gamengen.data.positions import Share
from gamengen.data.splits import Selection
from gamengen.runtime.errors import InputError
from tests.artifacts import make_autoencoder, make_episodes, make_latents


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Latents:
    folder = tmp_path_factory.mktemp("latents")
    episodes = make_episodes(folder / "episodes", length=12)
    return Latents(make_latents(folder / "l", episodes, make_autoencoder(folder / "a")))


def test_windows_cover_every_frame_but_the_first_and_never_cross_an_episode(
    latents: Latents,
) -> None:
    windows = Windows(latents, "train", 3, targets=1)
    places = [windows.first_targets.locate(i) for i in range(len(windows))]
    train = latents.of("train")
    expected = [(entry.id, frame) for entry in train for frame in range(1, entry.length)]
    assert [(entry.id, frame) for entry, frame in places] == expected


def test_a_share_of_the_episodes_is_spread_evenly(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes", episodes=9, length=6)
    latents = Latents(make_latents(tmp_path / "l", episodes, make_autoencoder(tmp_path / "a")))
    every = latents.of("train")
    assert len(every) == 6
    for share, kept in ((1.0, every), (0.5, every[::2]), (0.01, every[:1])):
        selection = Selection(share=share, played_by="anyone")
        assert Windows(latents, "train", 3, 1, selection).entries == kept


def test_episodes_are_chosen_by_who_played_them(tmp_path: Path) -> None:
    episodes = make_episodes(tmp_path / "episodes", episodes=3, length=6)
    (entry, *_) = Episodes(episodes).entries
    policies = ("random", "training", "trained", "random")
    entries = [entry.model_copy(update={"policy": policy}) for policy in policies]
    for player, kept in (("anyone", [0, 1, 2, 3]), ("agent", [1, 2]), ("random", [0, 3])):
        found = Selection(share=1.0, played_by=player).of(entries)
        assert found == [entries[n] for n in kept]
    with pytest.raises(InputError, match=r"train\.data\.played_by: agent: of 1 episodes none"):
        Selection(share=1.0, played_by="agent").of(entries[:1])


def test_a_window_is_the_frames_and_actions_that_led_to_its_target(latents: Latents) -> None:
    windows = Windows(latents, "train", 3, targets=1)
    entry = latents.of("train")[1]
    window = windows.read([(entry, 7)])
    rows = torch.from_numpy(latents.latents(entry, 4, 8)).float()
    torch.testing.assert_close(window.context[0], rows[:3])
    torch.testing.assert_close(window.target[0], rows[3])
    assert window.actions[0].tolist() == latents.actions(entry, 4, 7).tolist()


def test_an_early_window_repeats_the_first_frame_with_a_token_of_its_own(
    latents: Latents,
) -> None:
    windows = Windows(latents, "train", 3, targets=1)
    entry = latents.of("train")[0]
    window = windows.read([(entry, 1)])
    first = torch.from_numpy(latents.latents(entry, 0, 1)).float()[0]
    assert all(torch.equal(frame, first) for frame in window.context[0])
    token = latents.game.before_start
    assert window.actions[0].tolist() == [token, token, int(latents.actions(entry, 0, 1)[0])]
    assert token == len(latents.game.actions), "no real action has it"


def test_several_targets_end_with_the_episode(latents: Latents) -> None:
    windows = Windows(latents, "train", 3, targets=4)
    entry = latents.of("train")[0]
    assert len(windows) == sum(e.length - 4 for e in latents.of("train"))
    assert windows.first_targets.locate(entry.length - 5) == (entry, entry.length - 4)
    window = windows.read([(entry, entry.length - 4), (entry, 1)])
    rows = torch.from_numpy(latents.latents(entry, 0, entry.length)).float()
    torch.testing.assert_close(window.frames[0], rows[-7:])
    torch.testing.assert_close(window.frames[1], torch.cat([rows[:1], rows[:1], rows[:5]]))
    assert window.actions[0].tolist() == latents.actions(entry, 0, entry.length)[-7:-1].tolist()


def test_the_change_from_frame_to_frame_is_measured(latents: Latents) -> None:
    squares = []
    for entry in latents.of("train"):
        rows = latents.latents(entry, 0, entry.length).astype(np.float64)
        squares.append(np.square(np.diff(rows, axis=0)).mean())
    assert latents.change_std == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)


def test_history_longer_than_the_context_is_cut() -> None:
    frames, actions = torch.arange(5.0).view(5, 1, 1, 1), torch.arange(5)
    context, kept = pad_history(frames, actions, 3, before_start=9)
    assert (context.flatten().tolist(), kept.tolist()) == ([2, 3, 4], [2, 3, 4])


@pytest.mark.parametrize("length", [3, 8])
def test_a_batch_of_histories_is_padded_as_each_alone(length: int) -> None:
    frames, actions = torch.randn(2, 5, 4, 2, 3), torch.randint(5, (2, 5))
    context, kept = pad_history(frames, actions, length, before_start=9)
    for row in range(2):
        alone = pad_history(frames[row], actions[row], length, before_start=9)
        assert torch.equal(context[row], alone[0])
        assert torch.equal(kept[row], alone[1])


def test_draws_are_a_function_of_seed_step_and_row(latents: Latents) -> None:
    windows = Windows(latents, "train", 3, targets=1)
    first = windows.draw(Share(8), seed=1, step=5)
    assert torch.equal(first.target, windows.draw(Share(8), seed=1, step=5).target)
    for other in ({"seed": 2}, {"step": 6}):
        key = {"seed": 1, "step": 5} | other
        assert not torch.equal(first.target, windows.draw(Share(8), **key).target), other
    parts = [windows.draw(Share(8, rows), 1, 5) for rows in (slice(0, 4), slice(4, 8))]
    assert torch.equal(first.target, torch.cat([part.target for part in parts]))
    assert torch.equal(first.actions, torch.cat([part.actions for part in parts]))
