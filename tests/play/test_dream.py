import numpy as np
import pytest
import torch

from gamengen.backends.eager import Eager
from gamengen.data.episodes import Episodes, recorded_history
from gamengen.data.latents import Latents, Windows
from gamengen.game.engine import History
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import Sampler
from gamengen.model.weights import Weights, load_weights
from gamengen.play.dream import Dream, Settings
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from tests.dreams import Made

CPU = torch.device("cpu")


def dream_of(made: Made, settings: Settings | None = None, seed: int = 0) -> Dream:
    return Dream(made.weights, Eager(CPU), settings, seed)


@pytest.mark.parametrize(
    "settings",
    [
        Settings("student", Sampling(1)),
        Settings("teacher", Sampling(3, 1.5, 0.1, shift=2.0, order=2)),
        Settings("student", Sampling(1, 2.0)),
    ],
)
def test_a_dream_is_the_samplers_rollout(playable: Made, settings: Settings) -> None:
    """The same noise and actions give the same pictures, bit by bit."""
    dream = dream_of(playable, settings, seed=5)
    dream.start(playable.history)
    frames = [dream.step(action) for action in (1, 1, 3, 0)]
    net = playable.weights.denoiser(settings.model)
    window = Windows(Latents(playable.data / "latents"), "test", net.context_frames, targets=1)
    seen = window.read([(window.entries[0], playable.frame + 1)])
    latents = Sampler(net, settings.sampling).rollout(
        seen.context, seen.actions, torch.tensor([[1, 1, 3, 0]]), device.generator(5)
    )
    picture = Eager(CPU).picture(playable.weights.decoder)
    for frame, latent in zip(frames, latents, strict=True):
        np.testing.assert_array_equal(frame, picture(latent).numpy())


@pytest.mark.parametrize("frame", [0, 1, 20])
def test_it_starts_from_what_training_saw(playable: Made, frame: int) -> None:
    episodes = Episodes(playable.data / "episodes")
    entry = episodes.of("test")[0]
    dream = dream_of(playable)
    shown = dream.start(recorded_history(episodes, entry, frame, dream.context_frames))
    np.testing.assert_array_equal(shown, episodes.frames(entry, frame, frame + 1)[0])
    windows = Windows(Latents(playable.data / "latents"), "test", dream.context_frames, targets=1)
    seen = windows.read([(windows.entries[0], frame + 1)])
    torch.testing.assert_close(dream.past.context, seen.context, atol=1e-3, rtol=1e-3)
    assert dream.past.actions[0, :-1].tolist() == seen.actions[0, :-1].tolist()


def test_every_frame_gets_its_own_array_and_is_counted(playable: Made) -> None:
    dream = dream_of(playable)
    dream.start(playable.history)
    first = dream.step(1)
    kept = first.copy()
    dream.step(2)
    np.testing.assert_array_equal(first, kept)
    assert first.shape == (dream.facts.height, dream.facts.width, 3)
    assert first.dtype == np.uint8
    assert dream.frames_since_real == 2
    assert min(dream.timings.denoise, dream.timings.decode, dream.timings.picture) > 0
    dream.start(playable.history)
    np.testing.assert_array_equal(dream.step(1), kept)
    assert dream.frames_since_real == 1


def test_settings_take_effect_on_the_next_frame_and_are_checked(playable: Made) -> None:
    dream = dream_of(playable)
    dream.start(playable.history)
    dream.settings = Settings("teacher", Sampling(2, guidance=1.5, context_noise=0.2))
    assert dream.step(1).any()
    for field, wrong in (
        ("steps", Settings("student", Sampling(2))),
        ("steps", Settings("teacher", Sampling(101))),
        ("context_noise", Settings("student", Sampling(1, context_noise=0.71))),
    ):
        with pytest.raises(InputError, match=f"^{field}: "):
            dream.settings = wrong
    assert dream.settings.sampling.steps == 2
    with pytest.raises(ValueError, match="action 4: there are 4"):
        dream.step(4)


def test_an_edited_picture_becomes_the_end_of_the_history(playable: Made) -> None:
    dream = dream_of(playable)
    dream.start(playable.history)
    before = dream.past.context.clone()
    edited = dream.frame.copy()
    edited[:16] = 255
    shown = dream.edit(edited, count=2)
    assert shown.shape == edited.shape
    assert dream.past.actions[0, -2:].tolist() == [dream.facts.no_action] * 2
    assert torch.equal(dream.past.context[:, 0], before[:, 0])
    assert not torch.equal(dream.past.context[:, 1], before[:, 1])
    assert torch.equal(dream.past.context[:, 1], dream.past.context[:, 2])
    np.testing.assert_array_equal(dream.picture(dream.past.context[0, -1:]), shown)
    plain = dream_of(playable)
    plain.start(playable.history)
    assert not np.array_equal(dream.step(1), plain.step(1))
    with pytest.raises(ValueError, match="count 4"):
        dream.edit(edited, count=4)


def test_frames_of_another_size_are_refused(playable: Made) -> None:
    dream = dream_of(playable)
    small = History(0, np.zeros(0, np.int64), np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"frames: uint8 \(1, 8, 8, 3\)"):
        dream.start(small)


def test_warming_up_leaves_the_dream_as_it_is(playable: Made) -> None:
    dream, plain = dream_of(playable), dream_of(playable)
    dream.start(playable.history)
    plain.start(playable.history)
    dream.warm_up()
    np.testing.assert_array_equal(dream.step(2), plain.step(2))


def test_nothing_made_yet_is_said_with_the_remedy(tmp_path) -> None:
    with pytest.raises(InputError, match="make repro"):
        load_weights(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(
        InputError, match=f"one network; name the folder it is in: {tmp_path.parent}"
    ):
        load_weights(tmp_path)


def test_weights_play_their_roles(playable: Made) -> None:
    weights: Weights = playable.weights
    assert weights.denoiser("student") is weights.student
    assert weights.denoiser("teacher") is weights.teacher
