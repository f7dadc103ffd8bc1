"""A training of an adapter that its process keeps in memory for the stage that continues it.

A training of fifty iterations is five jobs, each of which continues from the checkpoint of the one
before. In a warm worker, the next stage takes over the adapted transformer and the optimizer's
state, and need not wrap the transformer and read the files again. It does so only if the files are
exactly those that were written; otherwise it continues from the files as always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from editinfinity.files.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_STATE,
    ADAPTER_WEIGHTS,
    OptimizerState,
)
from editinfinity.models.transformer import Infinity
from editinfinity.settings.groups import LoraSettings, ModelSettings
from editinfinity.stages.host import Host

if TYPE_CHECKING:
    from peft import PeftModel

FileState = tuple[int, int, int, int, int]
"""What changes when a file is replaced or written to: device, inode, size, mtime and ctime."""


@dataclass(frozen=True)
class KeptTraining:
    """A training of an adapter, as it was when its checkpoint was written.

    Attributes:
        model, lora: settings of the transformer and the adapter.
        transformer: the transformer, whose layers are wrapped.
        adapted: the transformer with the adapter.
        state: the optimizer's state.
        files: state of the checkpoint's files.
    """

    model: ModelSettings
    lora: LoraSettings
    transformer: Infinity
    adapted: PeftModel
    state: OptimizerState
    files: tuple[FileState, ...]

    def restore(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        """Return the optimizer's state; the adapter's weights are in place (a ``Checkpoint``)."""
        return self.state


def keep(
    host: Host,
    folder: Path,
    model: ModelSettings,
    lora: LoraSettings,
    transformer: Infinity,
    adapted: PeftModel,
    state: OptimizerState,
) -> None:
    """Keep a training after its checkpoint was written to a folder."""
    adapted.zero_grad(set_to_none=True)  # frees memory
    if (files := _file_states(folder)) is not None:
        kept = KeptTraining(model, lora, transformer, adapted, state, files)
        host.keep(_name(folder), kept)


def take(
    host: Host, folder: Path | None, model: ModelSettings, lora: LoraSettings
) -> KeptTraining | None:
    """Return the training whose checkpoint is in a folder, if it was kept and still fits.

    Args:
        host: the process that may have kept it.
        folder: folder of the checkpoint; None if there is none.
        model: settings of the model to continue with.
        lora: settings of the adapter to continue with.
    """
    if folder is None:
        return None
    kept = host.take(_name(folder))
    same = (
        isinstance(kept, KeptTraining)
        and (kept.model, kept.lora) == (model, lora)
        and kept.files == _file_states(folder)
    )
    return kept if same else None  # type: ignore[return-value]


def _name(folder: Path) -> str:
    return f"training of {folder.resolve()}"


def _file_states(folder: Path) -> tuple[FileState, ...] | None:
    """Return the states of a checkpoint's files; None if one is missing."""
    try:
        stats = [
            (folder / name).stat() for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG, ADAPTER_STATE)
        ]
    except OSError:
        return None
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)
