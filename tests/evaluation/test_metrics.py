"""Metrics against known answers: torchmetrics, closed forms, invariances."""

import contextlib
import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio

from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry
from gamengen.data.latents import Latents
from gamengen.evaluation import action_following, autoregressive, shards, summary, teacher_forced
from gamengen.evaluation.heldout import Heldout, batches, sample_starts
from gamengen.evaluation.metrics import PictureDistance, decibels, squared_error
from gamengen.evaluation.player import Model, Progress, as_played, student, teachers
from gamengen.evaluation.scores import score
from gamengen.evaluation.statistics import estimate, ratio, student_975
from gamengen.evaluation.teacher_forced import moves, require_watched
from gamengen.game.engine import Frame, History
from gamengen.game.facts import GameFacts
from gamengen.model.autoencoder import Autoencoder, to_float, to_uint8
from gamengen.model.denoiser import load_denoiser
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import Sampler
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from tests.artifacts import SHIFT, make_all, make_episodes, play

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_all(tmp_path_factory.mktemp("metrics"), length=80)


@pytest.fixture(scope="module")
def held(paths: list[Path]) -> Heldout:
    episodes, latents, decoder, *_ = paths
    return Heldout(Episodes(episodes), Latents(latents), Autoencoder.load(decoder), 3, CPU, "test")


@pytest.fixture(scope="module")
def models(paths: list[Path]) -> list[Model]:
    net = load_denoiser(paths[3])
    return [Model(f"steps_{n}", Sampler(net, Sampling(n, 1.5, 0.1))) for n in (1, 2)]


def test_models_are_sampled_as_asked(paths: list[Path]) -> None:
    """As their folders say, but for the number of steps."""
    net = load_denoiser(paths[3])
    net.sampling = Sampling(2, 1.5, context_noise=0.1, shift=2.0, order=2)
    (four,) = teachers(net, [4])
    assert four.sampler.sampling == Sampling(4, 1.5, context_noise=0.1, shift=2.0, order=2)
    assert student(net).sampler.sampling == as_played(net).sampler.sampling == net.sampling
    with pytest.raises(InputError, match=r"teacher_steps: \[1, 101\]: the denoiser has 100"):
        teachers(net, [1, 101])


def test_a_single_step_starts_where_the_student_does(held: Heldout, paths: list[Path]) -> None:
    """From the same noise; noise on the context shifts nothing."""
    teacher, pupil = load_denoiser(paths[3]), load_denoiser(paths[4])
    teacher.sampling = Sampling(2, 1.5, context_noise=0.1)
    one, two = teachers(teacher, [1, 2])
    context = held.window([(held.entries[0], 9)]).context
    drawn = []
    for model in (student(pupil), one, two):
        random = device.generator(3)
        drawn.append([model.sampler.draw(context, random) for _ in range(3)])
    for alone, noised, _ in zip(*drawn, strict=True):
        assert torch.equal(alone[0], noised[0])
        assert alone[1] is None
        assert noised[1] is not None
    assert not torch.equal(drawn[1][0][1], drawn[1][1][1]), "noise on the context is new each time"


def silent(passes: int) -> None:
    """No progress bar."""


# A mean and its interval


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (7, 2.3646), (29, 2.0452), (999, 1.9623)],
)
def test_student_quantile_is_the_table_s(freedom: int, quantile: float) -> None:
    assert student_975(freedom) == pytest.approx(quantile, abs=5e-5)


def test_interval_of_independent_values_is_the_textbook_s() -> None:
    values = np.random.default_rng(0).normal(size=30)
    found = estimate(values, np.arange(30))
    error = values.std(ddof=1) / math.sqrt(30)
    assert found.mean == pytest.approx(values.mean())
    assert found.margin == pytest.approx(2.0452 * error, rel=1e-3)


def test_frames_that_repeat_each_other_make_no_interval_narrower() -> None:
    values, episodes = np.random.default_rng(0).normal(size=12), np.arange(12)
    once = estimate(values, episodes)
    often = estimate(values.repeat(50), episodes.repeat(50))
    assert often.margin == pytest.approx(once.margin)
    assert often.count == 600


def test_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    random, inside = np.random.default_rng(1), 0
    for _ in range(1000):
        episodes = np.arange(8).repeat(5)
        values = random.normal(size=8)[episodes] + 0.3 * random.normal(size=40)
        found = estimate(values, episodes)
        assert found.margin is not None
        inside += abs(found.mean) < found.margin
    assert 0.93 < inside / 1000 < 0.97


@pytest.mark.parametrize("count", [5, 8, 16])
@pytest.mark.parametrize("spread", [0.5, 1.0, 1.5])
def test_a_ratio_of_unequal_episodes_is_not_known_better_than_it_is(
    count: int, spread: float
) -> None:
    random, told, inside = np.random.default_rng(3), 0, 0
    for _ in range(600):
        below = random.lognormal(sigma=spread, size=count)
        above = below * random.normal(0.3, 0.2, count)
        found = ratio(above, below, np.arange(count))
        if found.margin is not None:
            told += 1
            inside += abs(found.mean - 0.3) < found.margin
    assert told > 450
    assert inside / told > 0.9


def test_one_large_episode_makes_no_interval() -> None:
    below = np.array([100.0, 1.0, 1.0])
    assert ratio(0.5 * below, below, np.arange(3)).margin is None


def test_an_episode_without_anything_to_see_makes_no_interval_narrower() -> None:
    above, below = np.array([1.0, 2.0, 0.0, 0.0]), np.array([2.0, 2.0, 0.0, 0.0])
    seen = ratio(above[:2], below[:2], np.array([1, 2]))
    assert ratio(above, below, np.array([1, 2, 3, 4])) == seen
    assert seen.mean == 0.75
    assert ratio(above[1:], below[1:], np.array([2, 3, 4])).margin is None, "a single episode"
    with pytest.raises(ValueError, match="nothing"):
        ratio(above[2:], below[2:], np.array([3, 4]))


def test_one_episode_gives_no_interval_and_no_values_no_mean() -> None:
    assert estimate(np.ones(4), np.zeros(4, int)).margin is None
    with pytest.raises(ValueError, match="no values"):
        estimate(np.ones(0), np.ones(0, int))


# Pictures


def test_decibels_are_torchmetrics_and_the_formula_s_per_picture() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (
        torch.randint(0, 256, (3, 32, 40, 3), dtype=torch.uint8, generator=random) for _ in "ab"
    )
    found = decibels(squared_error(a, b))
    for i in range(3):
        reference = PeakSignalNoiseRatio(data_range=255.0)(a[i].float(), b[i].float())
        assert found[i] == pytest.approx(float(reference), abs=1e-4)
        mse = float((a[i].double() - b[i].double()).square().mean())
        assert found[i] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)


def test_equal_pictures_differ_by_their_rounding() -> None:
    a = torch.zeros(1, 32, 40, 3, dtype=torch.uint8)
    assert decibels(squared_error(a, a))[0] == pytest.approx(58.92, abs=0.01)


# Which frames are measured


def entries(*lengths: int) -> list[Entry]:
    return [
        Entry(
            id=str(i), store="s", start=0, length=n, split="test", seed=0, policy="random",
            agent_step=0,
        )
        for i, n in enumerate(lengths)
    ]  # fmt: skip


def test_targets_are_spread_evenly_and_never_repeat() -> None:
    places = sample_starts(entries(50, 50, 4, 50), 30, 1, seed=0)
    counts = [sum(entry.id == str(i) for entry, _ in places) for i in range(4)]
    assert counts == [9, 9, 3, 9]
    assert len({(entry.id, frame) for entry, frame in places}) == 30
    assert all(1 <= frame < entry.length for entry, frame in places)
    assert places == sample_starts(entries(50, 50, 4, 50), 30, 1, seed=0)
    assert places != sample_starts(entries(50, 50, 4, 50), 30, 1, seed=1)


def test_there_are_never_more_targets_than_frames() -> None:
    assert len(sample_starts(entries(3, 4), 100, 1, seed=0)) == 5


def test_rollouts_fit_into_their_episode() -> None:
    places = sample_starts(entries(20, 8, 30), 40, frames=8, seed=0)
    assert {entry.id for entry, _ in places} == {"0", "2"}
    assert all(frame >= 1 and frame + 8 <= entry.length for entry, frame in places)
    assert max(frame for entry, frame in places if entry.id == "0") == 12
    with pytest.raises(InputError, match=r"30 frames needs .* at least 31; the longest has 30"):
        sample_starts(entries(20, 8, 30), 4, frames=30, seed=0)


def test_latents_of_other_episodes_are_refused(paths: list[Path], tmp_path: Path) -> None:
    others = Episodes(make_episodes(tmp_path / "others", episodes=6, length=80))
    with pytest.raises(InputError, match=r"5 episodes, .*others has 6 .*'0005'.*repro encode"):
        Heldout(others, Latents(paths[1]), Autoencoder.load(paths[2]), 3, CPU, "test")


# One frame ahead, and rollouts


def one_ahead(held: Heldout, models: list[Model], places: Any, *seeds: int) -> dict[str, Any]:
    videos = autoregressive.rollouts(held, models, places, 1, silent, *seeds)
    return {name: video[:, 0] for name, video in videos.items()}


def test_baselines_are_what_they_are_called(held: Heldout, models: list[Model]) -> None:
    place = (held.entries[1], 7)
    shown = one_ahead(held, models, [place], 0)
    frames = torch.from_numpy(held.episodes.frames(held.recorded[place[0].id]))
    assert torch.equal(shown["real"][0], frames[7])
    assert torch.equal(shown["copy_last"][0], frames[6])
    net = held.autoencoder
    with torch.no_grad():
        ceiling = to_uint8(net.decode(net.encode(to_float(frames[7:8]))))
    # The latents are stored as float16.
    assert (shown["autoencoder"].int() - ceiling.int()).abs().max() <= 1
    videos = autoregressive.rollouts(held, models, [place], 5, silent, 0)
    assert torch.equal(videos["real"][0], frames[7:12])
    assert torch.equal(videos["copy_last"][0], frames[6:7].expand(5, -1, -1, -1))
    # Convolutions of another batch size may round another way.
    again = videos["autoencoder"][0, 0].int() - shown["autoencoder"][0].int()
    assert again.abs().max() <= 1


def test_a_rollout_begins_with_the_teacher_forced_frame(held: Heldout, models: list[Model]) -> None:
    place = (held.entries[0], 9)
    shown = one_ahead(held, models, [place], 0, 4)
    videos = autoregressive.rollouts(held, models, [place], 3, silent, 0, 4)
    for model in models:
        assert torch.equal(videos[model.name][:, 0], shown[model.name])
        assert not torch.equal(videos[model.name][:, 1], videos[model.name][:, 0])


def test_the_window_s_last_action_is_the_rollout_s_first(held: Heldout) -> None:
    place = (held.entries[0], 9)
    assert held.window([place]).actions[0, -1] == held.actions(place, 4)[0]
    recorded = held.episodes.actions(held.recorded[place[0].id])
    assert held.actions(place, 4).tolist() == recorded[8:12].tolist()


def test_what_is_shown_is_chosen_by_motion_and_from_different_episodes(held: Heldout) -> None:
    places = sample_starts(held.entries, 8, 6, seed=0)
    shown = autoregressive.liveliest(held, places, 6, 3)
    assert {entry.id for entry, _ in shown[:2]} == {entry.id for entry in held.entries}
    liveliest = [autoregressive.change(held.pixels(place, 0, 6)) for place in (shown[0], *places)]
    assert liveliest[0] == max(liveliest[1:])


def test_passes_count_steps_and_both_branches_of_guidance(models: list[Model]) -> None:
    assert [model.passes for model in models] == [2, 4]


# Many processes


class Rank:
    """What a process knows of itself, and of the others."""

    def __init__(self, index: int, count: int) -> None:
        self.process_index, self.num_processes = index, count

    def wait_for_everyone(self) -> None:
        """The last rank of the test runs when all others are done."""
        if self.process_index + 1 < self.num_processes:
            raise InterruptedError


def numbered(seen: list[int], episodes: list[Entry], batches_of: int = 2) -> shards.Job:
    """A job whose rows are the frames it was given; it notes the batches it measures."""

    def measure(number: int, batch: shards.Batch, progress: Progress) -> shards.Table:
        seen.append(number)
        table = {"frame": np.array([frame for _, frame in batch])}
        return table | ({"video/real": table["frame"][:1]} if number == 0 else {})

    places = [(episodes[0], frame) for frame in range(1, 14)]
    return shards.Job("frames", batches(places, batches_of), 1, measure)


def test_processes_share_the_batches_and_merge_them_in_order(tmp_path: Path) -> None:
    done: list[list[int]] = [[], [], []]
    tables = {}
    for rank in range(3):
        job = numbered(done[rank], entries(20))
        with contextlib.suppress(InterruptedError):
            tables = shards.run([job], tmp_path, Rank(rank, 3))  # type: ignore[arg-type]
    assert done == [[0, 3, 6], [1, 4], [2, 5]]
    assert tables["frames"]["frame"].tolist() == list(range(1, 14))
    assert shards.with_prefix("video", tables["frames"])["real"].tolist() == [1]


def test_jobs_of_one_batch_are_shared_too(tmp_path: Path) -> None:
    done: list[list[int]] = [[], []]
    for rank in range(2):
        some = numbered(done[rank], entries(20), batches_of=13)
        jobs = [dataclasses.replace(some, name=name) for name in ("first", "second")]
        with contextlib.suppress(InterruptedError):
            shards.run(jobs, tmp_path, Rank(rank, 2))  # type: ignore[arg-type]
    assert done == [[0], [0]]


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    seen: list[int] = []
    job = numbered(seen, entries(20))
    one: Any = Rank(0, 1)

    def interrupted(number: int, batch: shards.Batch, progress: Progress) -> shards.Table:
        if number == 3:
            raise KeyboardInterrupt
        return job.measure(number, batch, progress)

    with pytest.raises(KeyboardInterrupt):
        shards.run([dataclasses.replace(job, measure=interrupted)], tmp_path, one)
    assert seen == [0, 1, 2]
    table = shards.run([job], tmp_path, one)["frames"]
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert table["frame"].tolist() == list(range(1, 14))


def test_a_batch_that_lacks_rows_is_noticed(tmp_path: Path) -> None:
    one: Any = Rank(0, 1)
    shards.run([numbered([], entries(20), batches_of=2)], tmp_path, one)
    with pytest.raises(RuntimeError, match="2 rows, its batch has 3"):
        shards.run([numbered([], entries(20), batches_of=3)], tmp_path, one)


def test_batching_changes_no_baseline(held: Heldout) -> None:
    places = sample_starts(held.entries, 6, 1, seed=0)
    distance = PictureDistance(CPU, [])
    found = []
    for size in (2, 6):
        tables = [
            teacher_forced.measure(one_ahead(held, [], some, 0), held, some, None, distance)
            for some in batches(places, size)
        ]
        found.append(shards.concat_tables(tables)["copy_last/mse"])
    assert np.allclose(*found)


# Summaries


def table_of(moving: list[bool], **mse: np.ndarray) -> shards.Table:
    table: shards.Table = {"moving": np.array(moving), "episode": np.arange(len(moving))}
    return table | {f"{name}/mse": values for name, values in mse.items()}


def test_error_is_pooled_before_decibels_and_the_mean_of_decibels_is_told_too() -> None:
    copied, made = np.array([1.0, 400.0, 100.0, 0.1]), np.array([50.0, 150.0, 50.0, 20.0])
    table = table_of([False, True, True, False], copy_last=copied, student=made)
    told = summary.teacher_forced(table, ["copy_last", "student"])
    assert told["frames"] == 4
    assert told["moving"]["frames"] == 2
    found = told["moving"]["student"]
    assert found["psnr_pooled"] == pytest.approx(10 * math.log10(255**2 / 100), abs=0.005)
    each = [10 * math.log10(255**2 / mse) for mse in (150, 50)]
    assert found["psnr"] == pytest.approx(np.mean(each), abs=0.005)
    gain = 10 * math.log10(250 / 100)
    assert found["psnr_pooled_over_copy_last"] == pytest.approx(gain, abs=0.005)
    assert "psnr_over_copy_last" not in told["moving"]["copy_last"]
    # One still frame that is copied exactly outweighs three that are missed, in the mean of dB.
    assert (
        told["student"]["psnr_over_copy_last"] < 0 < told["student"]["psnr_pooled_over_copy_last"]
    )


def test_two_equally_good_predictors_show_no_gain() -> None:
    """Selecting frames on the one's errors shows the other 2 dB better; on the game's, not."""
    random = np.random.default_rng(0)
    frames = 2000
    copied, made = (65.0 * np.exp(random.normal(size=frames)) for _ in "ab")
    copied_db, made_db = decibels(copied), decibels(made)
    old_rule = copied_db < 30
    assert (made_db - copied_db)[old_rule].mean() > 2
    table = table_of(list(random.random(frames) < 0.5), copy_last=copied, student=made)
    told = summary.teacher_forced(table, ["copy_last", "student"])
    for found in (told["student"], told["moving"]["student"]):
        for metric in ("psnr", "psnr_pooled"):
            gain, margin = (found[f"{metric}_over_copy_last{end}"] for end in ("", "_95"))
            assert abs(gain) < margin < 0.6


def test_pooled_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    random, inside = np.random.default_rng(2), 0
    for _ in range(500):
        episodes = np.arange(12).repeat(4)
        mse = 40 * random.lognormal(sigma=0.4, size=12)[episodes] * random.lognormal(0, 0.2, 48)
        found = score({"mse": mse}, episodes)
        truth = 10 * math.log10(255**2 / (40 * math.exp(0.4**2 / 2 + 0.2**2 / 2)))
        inside += abs(found["psnr_pooled"] - truth) < found["psnr_pooled_95"]
    assert 0.90 < inside / 500 < 0.97


def test_thirds_are_by_how_much_the_real_video_moves() -> None:
    table = {
        "episode": np.arange(7),
        "step": np.tile([1, 2], (7, 1)),
        "motion": np.array([3.0, 0, 6, 1, 5, 2, 4]),
        "copy_last/mse": np.tile(10.0 ** -np.array([3.0, 0, 6, 1, 5, 2, 4])[:, None], (1, 2)),
        "copy_last/lpips_alex": np.zeros((7, 2)),
        "video/copy_last": np.zeros((2, 2)),  # of the rollouts that are shown
    }
    found = summary.by_motion(table, ["copy_last"])
    white = 20 * math.log10(255)
    for third, motion in (("little", 1), ("some", 3.5), ("much", 5.5)):
        assert found[third]["copy_last"]["psnr_last"] == round(white + 10 * motion, 2)
    few = {name: values[:2] for name, values in table.items()}
    assert summary.by_motion(few, ["copy_last"]) == {"reason": "needs 3 rollouts"}


def test_the_status_bar_is_told_apart(held: Heldout, models: list[Model]) -> None:
    places = sample_starts(held.entries, 2, 1, seed=1)
    pictures = one_ahead(held, models, places, 0)
    bar = round(32 * pictures["real"].shape[2] / 320)
    shown = pictures["real"].clone()
    shown[:, -bar:] = 255 - shown[:, -bar:]
    table = teacher_forced.measure(
        {"real": pictures["real"], "above": shown}, held, places, None, PictureDistance(CPU)
    )
    error = (255.0 - 2 * pictures["real"][:, -bar:].double()).square().mean((1, 2, 3))
    np.testing.assert_allclose(
        table["above/psnr_status_bar"], 10 * np.log10(255**2 / error.numpy()), atol=0.01
    )


def test_without_moving_frames_the_reason_is_told() -> None:
    told = summary.teacher_forced(table_of([False] * 2, copy_last=np.ones(2)), ["copy_last"])
    assert told["moving"]["frames"] == 0
    assert "no such frame" in told["moving"]["reason"]


# Which frames move


def test_frames_move_where_the_player_does_or_an_enemy_is_seen(held: Heldout) -> None:
    entry = held.entries[0]
    angle = held.episodes.variable(held.recorded[entry.id], "ANGLE")
    places = [(entry, frame) for frame in range(1, entry.length)]
    turned = [bool(angle[frame] != angle[frame - 1]) for _, frame in places]
    assert 0 < sum(turned) < len(turned)
    assert [moves(held, place, None) for place in places] == turned
    speck, enemy = (3, 3, 3, 9), (3, 3, 6, 9)
    for box, wanted in ((speck, turned), (enemy, [True] * len(turned))):
        everywhere = {entry.id: [[box]] * entry.length}
        assert [moves(held, place, everywhere) for place in places] == wanted


def test_a_recording_that_does_not_say_where_the_player_is_is_refused(held: Heldout) -> None:
    episodes = copy.copy(held.episodes)
    require_watched(episodes)
    episodes.game = episodes.game.model_copy(update={"variables": ["HEALTH", "ANGLE"]})
    with pytest.raises(InputError, match=r"variables: POSITION_X, .*SELECTED_WEAPON were not"):
        require_watched(episodes)


# Actions


@pytest.mark.parametrize("shift", [-9, -1, 0, 4, 11])
def test_shift_of_a_sliding_picture_is_found(shift: int) -> None:
    wide = torch.from_numpy(play(2, 120, 256, 0).frames[:1])
    before, after = wide[:, :, 40:200], wide[:, :, 40 - shift : 200 - shift]
    assert action_following.horizontal_shift(before, after)[0] == pytest.approx(shift, abs=0.3)


def test_flat_pictures_do_not_slide() -> None:
    flat = torch.full((1, 120, 160, 3), 90, dtype=torch.uint8)
    assert action_following.horizontal_shift(flat, flat)[0] == 0


class Panorama:
    """The world of the tests' recordings as an engine: turns when told to, ends when it must."""

    def __init__(self, facts: GameFacts, ends_after: int | None = None) -> None:
        self.facts, self.ends_after = facts, ends_after

    def start(self, history: History) -> Frame:
        self.left = self.ends_after
        self.over = None
        self.frame = history.frames[-1].copy()
        return self.frame

    def step(self, action: int) -> Frame:
        if self.left is not None:
            self.left -= 1
            self.over = "death" if self.left <= 0 else None
        if self.over is None:
            self.frame = np.roll(self.frame, SHIFT[self.facts.action_names[action]], 1)
        return self.frame

    def close(self) -> None:
        """Nothing to give back."""


def test_the_game_is_held_from_the_same_starts_for_as_long(
    held: Heldout, models: list[Model]
) -> None:
    game = held.latents.game
    turn = game.action_names.index("TURN_RIGHT")
    still = [i for i in range(1, 40) if not held.actions((held.entries[0], i), 1).any()]
    places = [(held.entries[0], still[3]), (held.entries[1], 1)]
    real, lasted = action_following.played(held, Panorama(game), places, [turn] * 5)
    assert lasted.tolist() == [5, 5]
    found = autoregressive.rollouts(held, models, places, 5, silent, 0, played=([turn] * 5, real))
    assert found.keys() == {"real", "autoencoder", "copy_last", "steps_1", "steps_2"}
    assert all(video.shape == real.shape for video in found.values())
    table = action_following.measure(found, lasted, held, places)
    told = summary.actions(game, {f"action_{turn}": table}, [turn], ["steps_1", "steps_2"])
    turned = told["TURN_RIGHT"]
    assert turned["frames"] == 8
    assert turned["shift_real"] == pytest.approx(SHIFT["TURN_RIGHT"], abs=0.5)
    assert turned["alike_real"] == 1
    assert turned["shift_copy_last"] == turned["alike_copy_last"] == 0


def test_what_the_real_game_did_not_live_to_show_is_asked_of_nobody(held: Heldout) -> None:
    places = [(held.entries[0], 9), (held.entries[1], 4)]
    game = Panorama(held.latents.game, ends_after=3)
    real, lasted = action_following.played(held, game, places, [1] * 5)
    assert lasted.tolist() == [2, 2]
    found = autoregressive.rollouts(held, [], places, 5, silent, 0, played=([1] * 5, real))
    table = action_following.measure(found, lasted, held, places)
    assert all(np.isfinite(column).all() for column in table.values()), "or it is not kept"
    for name in found:
        shifts, episodes = action_following.flatten(table, name)
        assert len(shifts) == 2
        assert episodes.tolist() == table["episode"].tolist()
    at_once = action_following.measure(found, np.zeros(2, int), held, places)
    told = summary.actions(held.latents.game, {"action_1": at_once}, [1], [])
    assert told["TURN_LEFT"] == {"frames": 0, "reason": "the game was over at once"}


def test_a_game_that_comes_elsewhere_is_refused(held: Heldout) -> None:
    class Another(Panorama):
        def start(self, history: History) -> Frame:
            return np.zeros_like(super().start(history))

    places = [(held.entries[0], 9)]
    with pytest.raises(InputError, match="is another when it is played again"):
        action_following.played(held, Another(held.latents.game), places, [1] * 3)


def test_a_model_that_answers_as_the_game_does_is_alike() -> None:
    shifts = np.array([3.0, 9.0, -4.0, 0.2])
    assert action_following.moves_alike(shifts, 5.0, width=160).tolist() == [1, 1, 0, 0]
    assert action_following.moves_alike(shifts, 0.0, width=160).tolist() == [0, 0, 0, 1]
