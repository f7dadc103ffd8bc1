"""A small vocabulary with the settings of T5's, in both of its released files."""

from __future__ import annotations

import io
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Words

ROOT = Path(__file__).parents[2]
PIECES = 400
EXTRA = [f"<extra_id_{number}>" for number in range(100)]
SIZE = PIECES + len(EXTRA)


def write_spiece(folder: Path) -> None:
    """``spiece.model``: unigram, <pad> 0, </s> 1, <unk> 2, nmt_nfkc, no bytes."""
    text = (ROOT / "LICENSES" / "Apache-2.0.txt").read_text("utf-8")
    captions = ["a naïve café, façade of the Straße in été", "a red cup and a cat 3.5 m, 2024!"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*text.split("\n"), *captions * 20]), model_writer=model,
        model_type="unigram", vocab_size=PIECES, character_coverage=1.0,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc",
        add_dummy_prefix=True, remove_extra_whitespaces=True, byte_fallback=False,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())


def write_tokenizer_json(spiece: Path, folder: Path) -> None:
    """``tokenizer.json`` of a ``spiece.model``, with the parts that flan-t5-xl's has."""
    # The classes that transformers' conversion uses too, but none of its code.
    from transformers.convert_slow_tokenizer import import_protobuf

    stored = import_protobuf().ModelProto.FromString(spiece.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in stored.pieces]
    words = Words(models.Unigram([*pieces, *((name, 0.0) for name in EXTRA[::-1])], unk_id=2))
    words.normalizer = normalizers.Precompiled(stored.normalizer_spec.precompiled_charsmap)
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    words.decoder = decoders.Metaspace(prepend_scheme="always")
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    special = ["<pad>", "</s>", "<unk>", *EXTRA]
    words.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    folder.mkdir(parents=True, exist_ok=True)
    words.save(str(folder / "tokenizer.json"))
