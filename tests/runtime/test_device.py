"""What a device is asked for."""

import pytest
import torch

from gamengen.runtime import device


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "chosen"),
    [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")],
)
def test_a_cpu_trains_in_bfloat16_where_it_multiplies_it_itself(
    amx: bool, avx512_bf16: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert device.resolve("auto", torch.device("cpu")) == chosen
    assert device.resolve("fp32", torch.device("cpu")) == "fp32"
