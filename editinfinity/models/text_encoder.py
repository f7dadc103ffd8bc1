"""Text encoders: a prompt as features a token, and where its tokens stand.

flan-t5-xl serves the released models, MiniLM the bundled one, and a hash of each word the ``tiny``
preset of the tests. Encoders take text as it is: put :func:`editinfinity.prompts.caption` around
a prompt. Only real tokens' features are kept, so nothing is padded.
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
    """What every text encoder can do.

    Attributes:
        width: channels of the features, Ct5.
        max_length: longest text, in tokens.
    """

    width: int
    max_length: int

    def encode(self, text: str) -> TextFeatures:
        """Features (1, T, Ct5) fp32 of the T tokens of a text.

        Raises:
            UserError: the text has more than ``max_length`` tokens.
        """
        ...

    def offsets(self, text: str) -> list[Span]:
        """First and one-past-last character of each of the T tokens; empty for special tokens."""
        ...


class TransformersEncoder:
    """An encoder of the transformers library: T5 or BERT."""

    def __init__(self, tokenizer: Any, model: nn.Module, width: int, max_length: int) -> None:
        """Use a fast tokenizer (offsets are needed) and its model.

        Args:
            tokenizer: ``PreTrainedTokenizerFast``.
            model: returns ``last_hidden_state``; its device is where it runs.
            width: channels of its features.
            max_length: longest text, in tokens.

        Raises:
            ValueError: the tokenizer gives no offsets.
        """
        if not tokenizer.is_fast:
            raise ValueError("the text encoder's tokenizer has no offsets; it needs tokenizer.json")
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
        found = self._tokens(text, return_offsets_mapping=True)["offset_mapping"]
        return [(int(start), int(end)) for start, end in found]

    def _tokens(self, text: str, **options: Any) -> Any:
        return self.tokenizer(text, truncation=False, padding=False, verbose=False, **options)


class PromptTooLongError(UserError):
    """A prompt has more tokens than the model reads.

    Args:
        tokens: of the prompt with its suffix.
        limit: the model's.
        origin: what to blame.
    """

    def __init__(self, tokens: int, limit: int, origin: str = "prompt") -> None:
        super().__init__(
            f"{origin}: is {tokens} tokens long with its suffix, the model reads {limit}; "
            "shorten it"
        )
        self.tokens, self.limit = tokens, limit


class HashedEncoder:
    """Random features drawn from a hash of each word: no weights, the same everywhere.

    Equal words get equal features wherever they stand; words of other cases are equal.
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
        """See :class:`TextEncoder`; the first token stands for the beginning of every text."""
        return [(0, 0)] + [match.span() for match in self._WORD.finditer(text)]

    def _features(self, word: str) -> Tensor:
        # Bytes of SHA-256 rather than a random generator, whose stream a new version may change.
        blocks = (
            hashlib.sha256(f"{block}:{word}".encode()).digest()
            for block in range(-(-self.width // 32))
        )
        values = np.frombuffer(b"".join(blocks), np.uint8)[: self.width].astype(np.float32)
        return torch.from_numpy((values - 127.5) / 73.9)  # about zero mean and unit variance


def _check_length(tokens: int, limit: int) -> None:
    if tokens > limit:
        raise PromptTooLongError(tokens, limit)
