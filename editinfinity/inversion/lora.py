"""LoRA on the feed-forward layers, through PEFT.

Source: EditInfinity (arXiv 2510.20217), stage 3; docs/method.md, "Stage 3: LoRA". Adapters are
ordinary PEFT adapters of an :class:`~editinfinity.models.transformer.Infinity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editinfinity.models.transformer import Infinity
from editinfinity.settings.groups import LoraSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

TARGET_MODULES = ("ffn.fc1", "ffn.fc2")
"""Both linear layers of every block's feed-forward."""


def add_lora(model: Infinity, settings: LoraSettings) -> PeftModel:
    """Wrap the feed-forward layers of the model, in place, with a new adapter.

    y = Wx + b + (lora_alpha / lora_rank)·B·A·dropout(x). A is Kaiming-uniform (a = √5), drawn from
    torch's global random generator, and B is zero. Only the adapter requires gradients afterwards.
    """
    # Here, because it imports transformers too, which takes seconds: only LoRA has to wait for it.
    from peft import get_peft_model

    return get_peft_model(model, lora_config(settings))  # type: ignore[arg-type]


def lora_config(settings: LoraSettings) -> LoraConfig:
    """Return PEFT's configuration of an adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # PEFT takes fractions as well
        lora_dropout=settings.lora_dropout,
        target_modules=sorted(TARGET_MODULES),
        bias="none",
    )
