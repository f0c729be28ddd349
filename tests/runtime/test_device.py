"""What a device is asked for."""

from types import SimpleNamespace

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


@pytest.mark.parametrize(("major", "chosen"), [(7, "fp32"), (9, "bf16")])
def test_a_gpu_before_ampere_would_emulate_bfloat16(
    major: int, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch itself answers, which goes by the generation: a T4's is 7, an H200's 9."""
    card = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert device.resolve("auto", torch.device("cuda")) == chosen
