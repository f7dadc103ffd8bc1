"""Text encoders: compute features for each token of a prompt, and the tokens' character offsets.

The released models use flan-t5-xl, the bundled model uses MiniLM, and the ``tiny`` preset of the
tests uses a hash of each word. Encoders do not modify the text:
:func:`editinfinity.method.prompt.encode_prompt` appends the suffix where one is needed. The
features contain no padding tokens.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from editinfinity.errors import UserError
from editinfinity.models.transformer import TextFeatures
from editinfinity.prompts import Span


class TextEncoder(Protocol):
    """Interface of all text encoders.

    Attributes:
        width: Number of feature channels, Ct5.
        max_length: Maximum length of a text, in tokens.
    """

    width: int
    max_length: int

    def encode(self, text: str) -> TextFeatures:
        """Return the features (1, T, Ct5) fp32 of the T tokens of a text.

        Raises:
            UserError: The text has more than ``max_length`` tokens.
        """
        ...

    def offsets(self, text: str) -> list[Span]:
        """Return the character span [start, end) of each of the T tokens, empty if special."""
        ...


class TransformersEncoder:
    """T5 or BERT encoder of the transformers library."""

    def __init__(self, tokenizer: Any, model: nn.Module, width: int, max_length: int) -> None:
        """Wrap a tokenizer and a model.

        Args:
            tokenizer: A ``PreTrainedTokenizerFast``; others return no character offsets.
            model: Model that returns ``last_hidden_state``. Texts are encoded on its device.
            width: Number of channels of its features.
            max_length: Maximum length of a text, in tokens.

        Raises:
            ValueError: The tokenizer is not a fast one, so it returns no offsets.
        """
        if not tokenizer.is_fast:
            raise ValueError("the text encoder's tokenizer has no offsets; add its tokenizer.json")
        self.tokenizer, self.width, self.max_length = tokenizer, width, max_length
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, text: str) -> TextFeatures:
        """See :class:`TextEncoder`."""
        tokens = self._tokens(text, return_tensors="pt")
        length = tokens["input_ids"].shape[1]
        _check_length(length, self.max_length)
        device = next(self.model.parameters()).device
        names = ("input_ids", "attention_mask")
        states = self.model(**{name: tokens[name].to(device) for name in names}).last_hidden_state
        return TextFeatures(states.float())

    def offsets(self, text: str) -> list[Span]:
        """See :class:`TextEncoder`."""
        spans = self._tokens(text, return_offsets_mapping=True)["offset_mapping"]
        return [(int(start), int(end)) for start, end in spans]

    def _tokens(self, text: str, **options: Any) -> Any:
        return self.tokenizer(text, truncation=False, padding=False, verbose=False, **options)


class PromptTooLongError(UserError):
    """A prompt has more tokens than the model accepts.

    Args:
        tokens: Number of tokens of the text, with its suffix if it has one.
        limit: Maximum number of tokens of the model.
        origin: Name of the input at fault, for the error message.
    """

    def __init__(self, tokens: int, limit: int, origin: str = "prompt") -> None:
        super().__init__(
            f"{origin}: has {tokens} tokens, but the model accepts {limit}; shorten it"
        )
        self.tokens, self.limit = tokens, limit


class HashedEncoder:
    """Pseudo-random features from a hash of each word, without weights.

    The features are the same on every machine. They depend on the lower-case word alone, not on its
    position in the text.
    """

    _WORD = re.compile(r"\w+|[^\w\s]")

    def __init__(self, width: int, max_length: int) -> None:
        self.width, self.max_length = width, max_length

    def encode(self, text: str) -> TextFeatures:
        """See :class:`TextEncoder`."""
        words = [""] + [match.group().lower() for match in self._WORD.finditer(text)]
        _check_length(len(words), self.max_length)
        return TextFeatures(torch.stack([self._features(word) for word in words])[None])

    def offsets(self, text: str) -> list[Span]:
        """See :class:`TextEncoder`; the first token is a special start-of-text token."""
        return [(0, 0)] + [match.span() for match in self._WORD.finditer(text)]

    def _features(self, word: str) -> Tensor:
        # SHA-256 is fixed; a new library version could change the output of a random generator.
        blocks = (
            hashlib.sha256(f"{block}:{word}".encode()).digest()
            for block in range(-(-self.width // 32))
        )
        values = np.frombuffer(b"".join(blocks), np.uint8)[: self.width].astype(np.float32)
        return torch.from_numpy((values - 127.5) / 73.9)  # about zero mean and unit variance


def _check_length(tokens: int, limit: int) -> None:
    if tokens > limit:
        raise PromptTooLongError(tokens, limit)
