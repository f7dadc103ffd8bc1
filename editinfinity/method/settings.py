"""Settings of the method, one dataclass a concern; free of torch so that anything may build them.

Defaults are upstream's where upstream has a value (design document "method"). A null means the
model's own default, kept with its preset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from editinfinity.errors import UserError

MAX_SEED = 2**63 - 1
"""The largest seed torch takes everywhere."""

SMOOTHINGS = ("linear", "paper", "hard", "gaussian", "dilated", "none")
"""Names of the smoothing kernels (``editinfinity.editing.kernel`` makes them)."""

MASK_REGIONS = ("black", "white", "transparent", "opaque")
"""Parts of a mask's picture that may be the edited one (``editinfinity.files.masks``)."""

BACKGROUNDS = ("exact", "decoded")
"""What a picture is outside its edit: the photograph's own pixels, or the model's."""

GUIDANCES = ("cfg", "source_negative")
"""Names of the guidances (``editinfinity.editing.guidance``)."""

MOST_LOCKED = 13
"""Scales of the largest schedule."""


def require(condition: bool, name: str, value: object, cure: str) -> None:
    """Refuse a setting that is not usable, with its name, its value and the cure.

    Raises:
        UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(f"{name}: {value!r} is not usable; {cure}")


def _require_seed(seed: int) -> None:
    whole = isinstance(seed, Integral) and 0 <= seed <= MAX_SEED
    require(whole, "seed", seed, "give a whole number from 0 to 2**63 - 1")


@dataclass(frozen=True)
class TrainingSettings:
    """How one image is learnt, the same for the learnable vectors and for LoRA.

    Attributes:
        seed: seed of all noise (``train_seed`` in the configuration).
        learning_rate: of AdamW, constant; None for the model's own.
        batch_size: noisy copies of the image an update; None for the model's own.
        betas: of AdamW.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.
        noise_strength: upper end of the bit-flip probability (bitwise self-correction).
        condition_dropout: probability that a sample trains without its text.
        drop_path: probability of skipping the last block; linear over depth from 0.
        deterministic: equal runs learn equal numbers on a GPU too, which is slower there.
    """

    seed: int = 42
    learning_rate: float | None = None
    batch_size: int | None = None
    betas: tuple[float, float] = (0.9, 0.97)
    weight_decay: float = 0.0
    gradient_clip: float = 5.0
    noise_strength: float = 0.3
    condition_dropout: float = 0.1
    drop_path: float = 0.1
    deterministic: bool = False

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        rate, batch = self.learning_rate, self.batch_size
        require(rate is None or rate > 0, "learning_rate", rate, "give a number above 0")
        require(batch is None or batch >= 1, "batch_size", batch, "give a whole number from 1 up")
        require(self.gradient_clip > 0, "gradient_clip", self.gradient_clip, "give one above 0")
        betas, decay = self.betas, self.weight_decay
        known = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
        require(known, "betas", betas, "give two numbers from 0 to below 1")
        require(decay >= 0, "weight_decay", decay, "give 0 or more")
        for name in ("noise_strength", "condition_dropout", "drop_path"):
            value = getattr(self, name)
            require(0 <= value < 1, name, value, "give a number from 0 to below 1")


@dataclass(frozen=True)
class LoraSettings:
    """The adapter of stage 3 on both linear layers of every feed-forward block.

    Attributes:
        rank: r.
        alpha: numerator of the scale alpha / r.
        dropout: on the adapter's input.
        kl_weight: weight of the summed KL term that only this stage adds.
    """

    rank: int = 4
    alpha: float = 32
    dropout: float = 0.1
    kl_weight: float = 2e-7

    def __post_init__(self) -> None:
        require(self.rank >= 1, "lora rank", self.rank, "give a whole number from 1 up")
        require(self.alpha > 0, "lora alpha", self.alpha, "give a number above 0")
        require(0 <= self.dropout < 1, "lora dropout", self.dropout, "give 0 to below 1")
        require(self.kl_weight >= 0, "lora kl_weight", self.kl_weight, "give 0 or more")


@dataclass(frozen=True)
class SamplingSettings:
    """How the edit is drawn.

    Attributes:
        seed: seed of the sampler.
        cfg: guidance; logits are uncond + cfg·(cond − uncond).
        tau: temperature the logits are divided by.
        top_k: choices kept a bit (a bit has two; 1 is greedy).
        top_p: a bit whose less likely value has a probability up to 1 − top_p is not drawn.
    """

    seed: int = 42
    cfg: float = 4.0
    tau: float = 0.5
    top_k: int = 900
    top_p: float = 0.97

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        cfg, tau = self.cfg, self.tau
        known = isinstance(cfg, Real) and 0 <= cfg < math.inf
        require(known, "cfg", cfg, "give a number from 0 up")
        require(isinstance(tau, Real) and 0 < tau < math.inf, "tau", tau, "give one above 0")
        require(self.top_k >= 1, "top_k", self.top_k, "give a whole number from 1 up")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "give a number above 0, up to 1")


@dataclass(frozen=True)
class KeepingSettings:
    """What an edit keeps of the photograph, and by what means.

    Attributes:
        mask_edit_region: which part of a mask's picture is edited, of ``MASK_REGIONS``.
        attention_threshold: share of the attention above which a cell is edited.
        smoothing: of ``SMOOTHINGS``.
        background: of ``BACKGROUNDS``.
        guidance: of ``GUIDANCES``.
        lock_scales: first scales that stay the photograph's.
    """

    mask_edit_region: str = "black"
    attention_threshold: float = 0.5
    smoothing: str = "linear"
    background: str = "exact"
    guidance: str = "cfg"
    lock_scales: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("mask_edit_region", MASK_REGIONS),
            ("smoothing", SMOOTHINGS),
            ("background", BACKGROUNDS),
            ("guidance", GUIDANCES),
        ):
            value = getattr(self, name)
            require(value in known, name, value, f"choose one of {', '.join(known)}")
        share, locked = self.attention_threshold, self.lock_scales
        require(0 < share < 1, "attention_threshold", share, "give a number between 0 and 1")
        whole = isinstance(locked, Integral) and 0 <= locked <= MOST_LOCKED
        require(whole, "lock_scales", locked, f"give a whole number from 0 to {MOST_LOCKED}")


DEFAULT_TRAINING = TrainingSettings()
DEFAULT_LORA = LoraSettings()
DEFAULT_SAMPLING = SamplingSettings()
