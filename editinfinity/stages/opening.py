"""What every stage that runs a model does first."""

from __future__ import annotations

import torch

from editinfinity.compute import pick_device, set_threads
from editinfinity.presets import Preset, preset
from editinfinity.stages.settings import ModelSettings


def open_settings(model: ModelSettings) -> tuple[Preset, torch.device]:
    """The preset and device of the settings; sets torch's threads and current device.

    Raises:
        UserError: there is no such preset or device.
    """
    chosen, device = preset(model.preset), pick_device(model.device)
    set_threads(model.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # where kernels run, wherever their tensors lie
    return chosen, device
