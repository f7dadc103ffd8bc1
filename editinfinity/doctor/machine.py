"""Checks the machine: GPU memory against the needs of the model, and space to write files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from editinfinity.config.load import Config
from editinfinity.doctor.findings import Finding, fault, note
from editinfinity.environment import available_cores
from editinfinity.errors import UserError
from editinfinity.planning.user_environment import PROFILE, Replacement
from editinfinity.presets import Preset, preset
from editinfinity.worker.private import private_folder
from editinfinity.worker.warm_process import warm_processes

_GIB = 2**30
_ENVIRONMENT = "environment"
_MIN_FREE_BYTES = _GIB
_TRAINING_FACTOR = 2.5
"""Approximate memory for training LoRA, as a multiple of the memory of the weights; the rest is
activations kept for the backward pass. With less memory, some wait in RAM (``memory``)."""


def check_environment(
    replaced: Sequence[Replacement], environment: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """Check the environment variables of the user that concern a run.

    Args:
        replaced: those that this command has replaced for its process.
        environment: the variables after that.
    """
    found = [note(_ENVIRONMENT, item.notice) for item in replaced if item.notice]
    if found:
        yield from found
        yield note(
            _ENVIRONMENT,
            "only the commands of editinfinity do this; mend it to run snakemake itself",
        )
    if profile := environment.get(PROFILE):
        yield note(
            _ENVIRONMENT,
            f"{PROFILE} is {profile}: snakemake uses that profile; editinfinity edit, batch and "
            "run do not (editinfinity run: add --profile)",
        )
    try:
        folder = private_folder()
    except OSError as error:
        yield note(
            _ENVIRONMENT,
            f"there is no folder for sockets and locks ({error}), so models are loaded for each "
            "job, and cases are not protected; make /tmp writable, or set TMPDIR to a short path",
        )
        return
    for process in warm_processes():
        yield Finding("kept warm", f"{process}; editinfinity stop ends it now")
    if not found:
        yield Finding(_ENVIRONMENT, f"home {Path.home()}, sockets and locks in {folder}")


def check_gpus(config: Config) -> Iterator[Finding]:
    """Check the configured device, and whether the model fits into its memory."""
    import torch

    from editinfinity.compute import pick_device
    from editinfinity.models.dispatch import kernels_obstacle

    chosen = preset(str(config.settings["model"]))
    try:
        device = pick_device(str(config.settings["device"]))
    except UserError as error:
        yield fault("GPU", str(error))
        return
    needed = weights_bytes(chosen)
    if device.type == "cpu":
        text = f"none is used; {available_cores()} CPU cores"
        if chosen.name.startswith("infinity"):
            yield note("GPU", f"{text}: {chosen.name} would take hours per picture")
        else:
            yield Finding("GPU", text)
        return
    if device.type != "cuda":
        text = "PyTorch's plain operations; never run on real hardware by us"
        yield note("GPU", f"{device.type}: {text}")
        return
    indices = range(torch.cuda.device_count()) if device.index is None else [device.index]
    for index in indices:
        free, total = torch.cuda.mem_get_info(index)
        text = (
            f"{index}: {torch.cuda.get_device_name(index)}, {free / _GIB:.1f} of "
            f"{total / _GIB:.1f} GiB free; {chosen.name}'s weights take {needed / _GIB:.1f}"
        )
        if free < needed / 2:
            yield fault("GPU", f"{text}: they do not fit; free memory or choose a smaller model")
        elif free < _TRAINING_FACTOR * needed:
            yield note("GPU", f"{text}: what does not fit waits in RAM, which is slower")
        else:
            yield Finding("GPU", text)
        if obstacle := kernels_obstacle(torch.device("cuda", index)):
            yield note("kernels", f"{obstacle}. Without kernels everything works, but more slowly")
        elif torch.cuda.get_device_capability(index) >= (9, 0):
            yield _flash_attention()


def _flash_attention() -> Finding:
    """Return whether FlashAttention-4 is installed, which a recent GPU can use."""
    from editinfinity.models.fused.flash_attention import is_installed

    if is_installed():
        return Finding("attention", "FlashAttention-4 is installed, for training on large images")
    return Finding(
        "attention",
        "PyTorch's; LoRA trains 6 % faster on large images with FlashAttention-4: "
        "pip install 'editinfinity[flash]'",
    )


def weights_bytes(chosen: Preset) -> int:
    """Return the GPU memory of a model's weights, in bytes: blocks in bf16, the rest in fp32.

    It excludes the text encoder, which is not loaded at the same time.
    """
    import torch

    from editinfinity.models.tokenizer import Tokenizer
    from editinfinity.models.transformer import Infinity

    with torch.device("meta"):
        transformer = Infinity(chosen.transformer).set_block_dtype(torch.bfloat16)
        parts = (transformer, Tokenizer(chosen.tokenizer))
    tensors = [tensor for part in parts for tensor in part.state_dict().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_folders(folder: Path, config: Config) -> Iterator[Finding]:
    """Check that results, Snakemake's own folder and temporary files can be written."""
    writable = []
    for path in (folder / config.results, folder / ".snakemake", Path(tempfile.gettempdir())):
        existing = next(p for p in (path, *path.absolute().parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            yield fault(
                "writing",
                f"{path}: cannot be written to ({error.strerror}); check permissions and space",
            )
            continue
        free = shutil.disk_usage(existing).free
        if free < _MIN_FREE_BYTES:
            yield note("writing", f"{path}: only {free / 2**20:.0f} MiB are left; free disk space")
        else:
            writable.append(f"{path.name} ({free / _GIB:.0f} GiB free)")
    if writable:
        yield Finding("writing", ", ".join(writable))
    if list((folder / ".snakemake" / "locks").glob("*.lock")):
        yield note(
            "lock",
            "a run is in progress here, or was killed; if none is: snakemake --unlock, then run "
            "with --rerun-incomplete",
        )
