"""Doom inside a diffusion model: the game, the data, the model, the sampler and the measures."""

import os
import sys

# Accelerate and diffusers use torch_xla whenever it can be imported, and importing it names a
# device for every child process too. Here XLA is used exactly when PJRT_DEVICE names a device;
# otherwise torch_xla is hidden before either library looks for it.
if not os.environ.get("PJRT_DEVICE"):
    os.environ["USE_TORCH_XLA"] = "0"
    sys.modules.setdefault("torch_xla", None)  # type: ignore[arg-type]
