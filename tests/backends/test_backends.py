import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gamengen.backends.backend import Backend, open_backend
from gamengen.backends.compiled import Compiled
from gamengen.backends.eager import Eager
from gamengen.backends.openvino import OpenVino
from gamengen.model.diffusion import Sampling
from gamengen.play.dream import Dream, Settings
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from tests.conftest import on_xla
from tests.dreams import Made

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
BFLOAT16 = device.resolve("auto", CPU) == "bf16"  # in this CPU's own instructions


def question(made: Made, batch: int) -> list[Tensor]:
    net, random = made.weights.teacher, torch.Generator().manual_seed(0)
    shape = net.latent_shape
    return [
        torch.randn(batch, *shape, generator=random),
        torch.full((batch,), 50),
        torch.randn(batch, net.context_frames, *shape, generator=random),
        torch.arange(batch * net.context_frames).view(batch, -1) % 4,
        torch.arange(batch),
    ]


def answers(made: Made, backend: Backend) -> tuple[list[Tensor], Tensor]:
    """Velocities for one and two rows, and a picture."""
    velocity = backend.velocity(made.weights.teacher)
    picture = backend.picture(made.weights.decoder)
    with torch.no_grad():
        velocities = [velocity(*question(made, batch)) for batch in (1, 2)]
        return velocities, picture(question(made, 1)[0])


@pytest.mark.parametrize("backend", [OpenVino("fp32"), Compiled(CPU)], ids=lambda b: b.name)
def test_float32_back_ends_agree_with_eager(playable: Made, backend: Backend) -> None:
    expected, pixels = answers(playable, Eager(CPU))
    found, shown = answers(playable, backend)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert shown.dtype == torch.uint8
    assert (shown.int() - pixels.int()).abs().max() <= 1, "rounding"


@pytest.mark.parametrize("kind", [Eager, Compiled, OpenVino])
def test_half_the_bits_are_close(playable: Made, kind: type[Eager] | type[OpenVino]) -> None:
    if kind is OpenVino and not BFLOAT16:
        pytest.skip("this CPU has no bfloat16, and OpenVINO does not emulate it")
    expected, pixels = answers(playable, Eager(CPU))
    backend = OpenVino("bf16") if kind is OpenVino else kind(CPU, "bf16")
    assert backend.precision == "bf16"
    found, shown = answers(playable, backend)
    assert not torch.equal(found[0], expected[0]), "it is really in half the bits"
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.1)
    assert (shown.int() - pixels.int()).abs().max() <= 8
    kinds = {weight.dtype for weight in playable.weights.teacher.parameters()}
    assert kinds == {torch.float32}, "its own weights are kept"


def test_nothing_reports_home() -> None:
    """OpenVINO finds no package to send telemetry with."""
    code = (
        "import gamengen.backends.backend as b, sys; b.open_backend('openvino');"
        "import openvino; from openvino.tools.ovc import telemetry_utils as t;"
        "print(t.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]


def test_what_cannot_run_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there are eager, compile"):
        open_backend("tensorrt")
    with pytest.raises(InputError, match="PJRT_DEVICE is not set"):
        open_backend("xla")
    monkeypatch.setitem(sys.modules, "gamengen.backends.openvino", None)
    with pytest.raises(InputError, match="uv sync --extra openvino"):
        open_backend("openvino")


def test_each_back_end_is_in_the_faster_precision_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for has, faster in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        for name in ("eager", "compile", "openvino"):
            assert open_backend(name).precision == faster
            assert open_backend(name, "fp32").precision == "fp32"
    with pytest.raises(InputError, match="precision bf16: this CPU has none"):
        open_backend("openvino", "bf16")


def test_openvino_has_the_cores_for_itself() -> None:
    open_backend("eager")
    threads = torch.get_num_threads()
    backend = open_backend("openvino")
    assert isinstance(backend, OpenVino)
    assert backend.threads == threads
    assert torch.get_num_threads() == 1
    open_backend("eager")
    assert torch.get_num_threads() == threads


def test_xla_compiles_no_more_once_play_has_begun(playable: Made, tmp_path: Path) -> None:
    told = on_xla("tests.xla_dream", str(playable.data))
    assert told["device"].startswith("xla")
    assert told["fallbacks"] == []
    for compiles in told["compiles"].values():
        assert compiles[2:] == [compiles[2]] * len(compiles[2:]), told["compiles"]
    dream = Dream(playable.weights, Eager(CPU), Settings("teacher", Sampling(2)))
    dream.start(playable.history)
    frame = dream.step(1).astype(int)
    assert np.abs(frame - np.array(told["frame"])).max() <= 2


def test_players_share_what_openvino_compiled(playable: Made) -> None:
    backend = open_backend("openvino")
    dreams = [Dream(playable.weights, backend) for _ in range(2)]
    for dream in dreams:
        dream.start(playable.history)
    first, second = (dream.step(1) for dream in dreams)
    np.testing.assert_array_equal(first, second)
    built = len(backend.compiled)
    Dream(playable.weights, backend).start(playable.history)
    assert len(backend.compiled) == built
    velocities = [dream.velocities["student"] for dream in dreams]
    assert velocities[0].request(1) is not velocities[1].request(1), "each has its own request"
