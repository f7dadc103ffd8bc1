"""Released files in small: names, keys and layouts of the real ones, at a fraction of the width.

The keys come from the lists of the real files (tests/parity_data/released, whose README says which
lists are derived from the architecture).
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from editinfinity.models.released import tokenizer_key, transformer_key
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LISTS = Path(__file__).parents[1] / "parity_data" / "released"
TRANSFORMER_LIST = {
    "infinity_125m": "infinity_125m",
    "infinity_2b": "infinity_2b",
    "infinity_8b": "infinity_8b",
    "infinity_8b_512": "infinity_8b",
}
TOKENIZER_LIST = {
    "infinity_125m": "vae_d16",
    "infinity_2b": "vae_d32",
    "infinity_8b": "vae_d14",
    "infinity_8b_512": "vae_d14",
}
TRANSFORMER_FILE = {
    "infinity_125m": "infinity_125M_256x256.pth",
    "infinity_2b": "infinity_2b_reg.pth",
    "infinity_8b": "infinity_8b_weights",
    "infinity_8b_512": "infinity_8b_512x512_weights",
}
TOKENIZER_FILE = {
    "infinity_125m": "infinity_vae_d16.pth",
    "infinity_2b": "infinity_vae_d32reg.pth",
    "infinity_8b": "infinity_vae_d56_f8_14_patchify.pth",
    "infinity_8b_512": "infinity_vae_d56_f8_14_patchify.pth",
}
State = dict[str, Tensor]


def shrunk(name: str) -> Preset:
    """A released model's preset at a small width: the same depth, keys and scales."""
    full = preset(name)
    return replace(
        full,
        tokenizer=replace(full.tokenizer, base_width=8, group_width=4),
        transformer=replace(full.transformer, width=32, heads=4, text_width=128, text_length=160),
        text_encoder=replace(full.text_encoder, width=128),
        pixel_budget="0.06M",
    )


def released_shapes(list_name: str) -> dict[str, tuple[int, ...]]:
    """Every key of a released file with its shape."""
    with (LISTS / f"state_dict_{list_name}.tsv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {
            row["key"]: tuple(map(int, row["shape"].split("x"))) for row in rows if row["shape"]
        }


def transformer_state(small: Preset, seed: int = 0) -> State:
    """The released keys of a transformer with random values of the small shapes."""
    torch.manual_seed(seed)
    config = small.transformer
    ours = Infinity(config).state_dict()
    state = {}
    for key in released_shapes(TRANSFORMER_LIST[small.name]):
        name = transformer_key(key, config)
        state[key] = torch.zeros(config.width) if name is None else ours[name]
        if key.endswith(".scale_mul_1H11") and "sa.scale" in key and seed % 2:
            state[key] = state[key].reshape(1, 1, -1, 1)
    return state


def tokenizer_state(small: Preset, wrapped: bool = True) -> State:
    """The released keys of a tokenizer; without the inner ``.conv`` and ``.norm`` if asked."""
    torch.manual_seed(1)
    ours = Tokenizer(small.tokenizer).state_dict()
    state = {}
    for key in released_shapes(TOKENIZER_LIST[small.name]):
        name = tokenizer_key(key)
        value = torch.zeros(8) if name is None else ours[name]
        state[key if wrapped or name is None else name] = value
    return state


PIECES = ("<pad>", "</s>", "<unk>", "▁", "▁cup", "▁red", "▁cat", *"abcdefghijklmnopqrstuvwxyz,")
"""The small vocabulary of the random text encoders."""


def vocabulary() -> PreTrainedTokenizerFast:
    """A tokenizer that knows a few words and all letters."""
    from tokenizers import Tokenizer as Words
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Words(models.Unigram([(piece, -float(i)) for i, piece in enumerate(PIECES)], unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def write_vocabulary(folder: Path) -> None:
    """The files of that tokenizer."""
    vocabulary().save_pretrained(folder)


def write_text_encoder(folder: Path, shards: int = 2, rows: int | None = None) -> None:
    """A random T5 with a small vocabulary, encoder and decoder, in shards as flan-t5-xl's.

    With ``rows`` tokens it has no vocabulary of its own.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    if rows is None:
        write_vocabulary(folder)
    config = T5Config(
        vocab_size=rows or len(PIECES), d_model=128, d_ff=64, num_layers=1, num_heads=2, d_kv=8,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.manual_seed(2)
    config.save_pretrained(folder)
    state = T5ForConditionalGeneration(config).state_dict()
    state = {name: tensor.clone() for name, tensor in state.items()}
    write_shards(folder, state, shards)


def write_shards(folder: Path, state: State, count: int) -> None:
    """Shards of a Hugging Face checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    names, places = sorted(state), {}
    for index in range(count):
        file = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
        part = {name: state[name].contiguous() for name in names[index::count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(part, file))
    listing = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(listing))


def write_release(small: Preset, folder: Path) -> None:
    """A whole release: pickles, of the 8B models shards, all with the text encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"vae": tokenizer_state(small)}, folder / TOKENIZER_FILE[small.name])
    file = folder / TRANSFORMER_FILE[small.name]
    if file.suffix:
        torch.save(transformer_state(small), file)
    else:
        write_shards(file, transformer_state(small), 3)
    write_text_encoder(folder / "flan-t5-xl")
