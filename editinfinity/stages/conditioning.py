"""Saved text features as the transformer takes them."""

from __future__ import annotations

import torch

from editinfinity.files.features import PromptFeatures
from editinfinity.models.transformer import TextFeatures


def text_of(prompt: PromptFeatures, device: torch.device) -> TextFeatures:
    """The prompt's features, (1, T, Ct5)."""
    return TextFeatures(torch.from_numpy(prompt.features)[None].to(device))
