"""LoRA on the feed-forward layers, through PEFT.

Source: EditInfinity (arXiv 2510.20217), stage 3; design document "method", step 3. Adapters are
ordinary PEFT adapters of an :class:`~editinfinity.models.transformer.Infinity`.
"""

from __future__ import annotations

from dataclasses import dataclass

from peft import LoraConfig, PeftModel, get_peft_model

from editinfinity.models.transformer import Infinity

TARGET_MODULES = ("ffn.fc1", "ffn.fc2")
"""Both linear layers of every block's feed-forward."""


@dataclass(frozen=True)
class LoraSettings:
    """y = Wx + b + (alpha / rank)·B·A·dropout(x), A Kaiming-uniform (a = √5), B zero."""

    rank: int = 4
    alpha: float = 32
    dropout: float = 0.1


def add_lora(model: Infinity, settings: LoraSettings) -> PeftModel:
    """Wrap the model with a fresh adapter; A draws from torch's global generator.

    Only the adapter requires gradients afterwards.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # PEFT takes fractions as well
        lora_dropout=settings.dropout,
        target_modules=sorted(TARGET_MODULES),
        bias="none",
    )
    return get_peft_model(model, config)  # type: ignore[arg-type]
