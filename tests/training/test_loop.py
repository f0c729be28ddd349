"""A training run's batch, and its loss curve wherever it is interrupted."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from gamengen.runtime.errors import InputError
from gamengen.training.loop import Training
from gamengen.training.schedule import RunLength
from tests.tiny import params
from tests.training.test_finite import STAGES


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("processes", [3, 16])
def test_a_batch_that_processes_cannot_share_is_refused(
    stage: str, processes: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"stages.{stage}")
    settings = params(module.Params, stage, batch_size=8)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: processes))
    told = rf"{stage}\.batch_size: 8: must be a multiple of the number of processes, {processes}$"
    with pytest.raises(InputError, match=told):
        module.main(settings, *(made / name for name in STAGES[stage]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stopped_at", [3, 10, 14])
def test_the_loss_curve_is_the_same_wherever_it_is_interrupted(
    stopped_at: int, tmp_path: Path
) -> None:
    def train(resume: Path, stop: int | None) -> list[dict[str, object]]:
        schedule = RunLength(steps=20, log_every=8, checkpoint_every=9)
        parts = {"net": torch.nn.Linear(1, 1)}
        with Training(Accelerator(cpu=True), resume, schedule, parts) as training:
            for step in training.steps:
                training.interrupt.asked = step == stop
                training.done(step, {"loss": torch.tensor(step / 3)})
        return training.rows

    wanted = train(tmp_path / "straight-0", None)
    assert [row["step"] for row in wanted] == [8, 16, 20]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut-0", stopped_at)
    assert train(tmp_path / "cut-0", None) == wanted
