"""Variants that are compared: inversion, kernel and guidance. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

LORA_ITERATIONS = (10, 20, 30, 40, 50)
"""Numbers of iterations of the paper's sweep."""

VECTOR_ITERATIONS = 10
MOST = LORA_ITERATIONS[-1]


@dataclass(frozen=True)
class Learned:
    """Result of an inversion: 20 vectors after the prompt, an adapter, both or nothing.

    Attributes:
        vectors: whether the learned prompt (10 iterations) is used, also to train the adapter.
        lora: iterations of the adapter; 0 for none.
    """

    vectors: bool = False
    lora: int = 0

    @property
    def name(self) -> str:
        """Name in the tables of rows."""
        if not self.lora:
            return "prompt" if self.vectors else "nothing"
        return f"{'both' if self.vectors else 'lora'}{self.lora}"


NOTHING, PROMPT = Learned(), Learned(vectors=True)
LORA = Learned(lora=MOST)
BOTH = {iterations: Learned(True, iterations) for iterations in LORA_ITERATIONS}
INVERSIONS = (NOTHING, PROMPT, LORA, *BOTH.values())

EVERYWHERE = "everywhere"
"""No blending: the whole picture is generated (``infer_function`` 0)."""


@dataclass(frozen=True)
class Variant:
    """One way of generating every edit.

    Attributes:
        learned: result of the source's inversion.
        kernel: a smoothing of :mod:`editinfinity.editing.blend_mask`, or ``EVERYWHERE``.
        guidance: ``cfg`` or ``source_negative``.
        lock_scales: number of first scales that keep the source's codes.
    """

    learned: Learned
    kernel: str = "linear"
    guidance: str = "cfg"
    lock_scales: int = 0

    @property
    def strength(self) -> float:
        """Strength of the guidance: the method's 4, or that of published training-free editing."""
        return 4.04 if self.guidance == "source_negative" else 4.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Inversion, kernel and guidance as in the tables of rows."""
        lock = f"+lock{self.lock_scales}" if self.lock_scales else ""
        return self.learned.name, self.kernel, self.guidance + lock


FULL = Variant(BOTH[MOST])
"""The method as the workflow's defaults run it."""

BLENDED = tuple(Variant(learned) for learned in INVERSIONS)
WHOLE = tuple(Variant(learned, EVERYWHERE) for learned in INVERSIONS)
KERNELS = tuple(
    Variant(learned, kernel)
    for learned in (BOTH[MOST], NOTHING)
    for kernel in ("none", "gaussian", "linear", "paper")
)
TRAINING_FREE = Variant(NOTHING, "dilated", "source_negative")
"""As ``method: training_free`` with the settings that docs/training_free.md recommends."""

COMPARED = (
    TRAINING_FREE,
    Variant(NOTHING, "linear", "source_negative"),
    Variant(NOTHING, "dilated"),
    Variant(NOTHING, "dilated", "source_negative", lock_scales=3),
    Variant(NOTHING),
    Variant(BOTH[10]),
    FULL,
    Variant(BOTH[MOST], "dilated"),
    Variant(BOTH[MOST], "linear", "source_negative"),
    Variant(BOTH[MOST], "dilated", "source_negative"),
)

VARIANTS = tuple(dict.fromkeys((*BLENDED, *KERNELS, *COMPARED, *WHOLE)))
"""Every variant once, in the order of generation."""
