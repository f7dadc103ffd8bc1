"""A training of an adapter that its process keeps in memory for the stage that continues it.

A training of fifty iterations is five jobs, each of which continues from the checkpoint of the one
before. In a warm worker, the next stage takes over the adapted transformer and the optimizer's
state, and need not wrap the transformer and load the files again. It does so only if the content of
the files is what was written; otherwise it continues from the files as always.
"""

from __future__ import annotations

import hashlib
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


@dataclass(frozen=True)
class KeptTraining:
    """A training of an adapter, as it was when its checkpoint was written.

    Attributes:
        model, lora: settings of the transformer and the adapter.
        transformer: the transformer, whose layers are wrapped.
        adapted: the transformer with the adapter.
        state: the optimizer's state.
        digests: digests of the checkpoint's files.
    """

    model: ModelSettings
    lora: LoraSettings
    transformer: Infinity
    adapted: PeftModel
    state: OptimizerState
    digests: tuple[str, ...]

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
    if (digests := _digests(folder)) is not None:
        kept = KeptTraining(model, lora, transformer, adapted, state, digests)
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
        and kept.digests == _digests(folder)
    )
    return kept if same else None  # type: ignore[return-value]


def _name(folder: Path) -> str:
    return f"training of {folder.resolve()}"


def _digests(folder: Path) -> tuple[str, ...] | None:
    """Return digests of the content of a checkpoint's files; None if one is missing.

    Their times say nothing, because Snakemake touches the outputs of a job when it has ended.
    """
    digests = []
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG, ADAPTER_STATE):
        try:
            with (folder / name).open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return None
    return tuple(digests)
