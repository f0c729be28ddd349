"""Where and how the model's networks run while it is played, one way a file."""

import sys

# OpenVINO and NNCF report home through this package where it can be imported; without it they
# fall back to stubs of their own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
