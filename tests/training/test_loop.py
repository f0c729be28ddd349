"""A batch is what params.yaml says, however many processes share it."""

from importlib import import_module
from pathlib import Path

import pytest
from accelerate import Accelerator

from gamengen.runtime.errors import InputError
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
