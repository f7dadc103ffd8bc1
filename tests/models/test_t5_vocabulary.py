"""T5's vocabulary from spiece.model, from tokenizer.json or from both gives the same tokens."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import torch

from editinfinity.errors import UserError
from editinfinity.files.weights import load_text_encoder
from editinfinity.models.text_encoder import TextEncoder, TransformersEncoder
from editinfinity.presets import preset
from editinfinity.prompts import CAPTION_SUFFIX, find_word, tokens_of
from editinfinity.released.convert import convert, released_files
from tests.released.files import shrunk, write_release, write_text_encoder
from tests.released.vocabulary import SIZE, write_spiece, write_tokenizer_json

CPU = torch.device("cpu")
FULL = preset("infinity_2b")
T5 = replace(
    FULL,
    transformer=replace(FULL.transformer, text_width=128),
    text_encoder=replace(FULL.text_encoder, width=128),
)
BOTH = ("spiece.model", "tokenizer.json")

PLAIN = (
    "", "a red cup", "a  red   cup", " a red cup ", CAPTION_SUFFIX, "A Red CUP.", "a\tred\ncup",
    "a naïve café", "e\u0301te\u0301", "Straße ÜBER façade", "ｆｕｌｌ ｗｉｄｔｈ", "½ ﬁne ™ ﷺ",
    "a 🐱 on a table", "🐱", "👩\u200d👩\u200d👧 family", "I ❤️ cats", "日本語 の 猫",
    "it’s “quoted”", "\u200bzero\u200bwidth", "\ufeffmark", "\xa0no\xa0break", "a \u3000 cup",
    "x\u00ad y", "▁red", "don't (stop), 3.5 m; 2024!", "license" * 9, "tab\t", "--", "a" * 60,
    "Ω≈ç√∫", "a\u0000b",
)  # fmt: skip
"""Prompts without the name of a special token."""

SPECIAL = (
    "a red cup </s> b",
    "a <extra_id_0> cup",
    "<pad>",
    "<unk> x",
    "<extra_id_99>,",
    "red</s>",
)


@pytest.fixture(scope="module")
def folder_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes model folders whose T5 has these files of its vocabulary."""
    made = tmp_path_factory.mktemp("t5")
    write_spiece(made)
    write_tokenizer_json(made / "spiece.model", made)
    write_text_encoder(made, shards=1, rows=SIZE)

    def make(*names: str) -> Path:
        folder = tmp_path_factory.mktemp("model")
        unused = [name for name in BOTH if name not in names]
        shutil.copytree(made, folder / "text_encoder", ignore=shutil.ignore_patterns(*unused))
        return folder

    return make


@pytest.fixture(scope="module")
def encoders(folder_with: Callable[..., Path]) -> dict[str, TextEncoder]:
    kinds = {"both": BOTH, "spiece": BOTH[:1], "json": BOTH[1:]}
    return {kind: load_text_encoder(T5, CPU, folder_with(*names)) for kind, names in kinds.items()}


def ids(encoder: TextEncoder, text: str) -> list[int]:
    assert isinstance(encoder, TransformersEncoder)
    return encoder._tokens(text)["input_ids"]


@pytest.mark.parametrize("text", [*PLAIN, *(text + CAPTION_SUFFIX for text in PLAIN), *SPECIAL])
def test_both_files_give_the_same_tokens(encoders: dict[str, TextEncoder], text: str) -> None:
    wanted = encoders["json"]
    for kind in ("spiece", "both"):
        assert ids(encoders[kind], text) == ids(wanted, text), kind
        assert encoders[kind].offsets(text) == wanted.offsets(text), kind
        assert torch.equal(encoders[kind].encode(text).features, wanted.encode(text).features)


@pytest.mark.parametrize("text", PLAIN)
def test_the_tokens_are_those_of_sentencepiece(
    encoders: dict[str, TextEncoder], folder_with: Callable[..., Path], text: str
) -> None:
    spiece = folder_with("spiece.model") / "text_encoder" / "spiece.model"
    own = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    assert ids(encoders["spiece"], text) == [*own.encode(text), own.eos_id()]
    assert (own.pad_id(), own.eos_id(), own.unk_id()) == (0, 1, 2)


def test_the_pieces_of_a_word_are_found(encoders: dict[str, TextEncoder]) -> None:
    prompt = "a naïve licensee beside a café"
    spans = {
        kind: [tokens_of(find_word(prompt, word), encoder.offsets(prompt + CAPTION_SUFFIX))
               for word in ("licensee", "café", "naïve")]
        for kind, encoder in encoders.items()
    }  # fmt: skip
    assert spans["spiece"] == spans["json"] == spans["both"]
    start, end = spans["spiece"][0]
    assert end - start > 1


def test_no_vocabulary_is_not_taken_for_one(folder_with: Callable[..., Path]) -> None:
    """transformers would make one of 104 tokens, in which every word is unknown."""
    with pytest.raises(UserError, match=r"text_encoder: has no tokenizer\.json; put the one"):
        load_text_encoder(T5, CPU, folder_with())


def test_a_vocabulary_of_another_model_is_told(folder_with: Callable[..., Path]) -> None:
    folder = folder_with("tokenizer.json")
    write_text_encoder(folder / "text_encoder", shards=1, rows=SIZE + 128)
    with pytest.raises(UserError, match=f"has {SIZE} tokens, its weights have {SIZE + 128}"):
        load_text_encoder(T5, CPU, folder)
    write_text_encoder(folder / "text_encoder", shards=1, rows=SIZE + 28)  # as flan-t5-xl
    load_text_encoder(T5, CPU, folder)


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\nsize 791656\n", None]
)
def test_a_damaged_vocabulary_is_told(
    folder_with: Callable[..., Path], content: bytes | None
) -> None:
    folder = folder_with("spiece.model")
    path = folder / "text_encoder" / "spiece.model"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(UserError, match=r"spiece\.model: is damaged or incomplete; get it again"):
        load_text_encoder(T5, CPU, folder)


@pytest.mark.parametrize("package", ["sentencepiece", "protobuf"])
def test_a_missing_package_is_told(
    folder_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(f"transformers.utils.import_utils.is_{package}_available", lambda: False)
    with pytest.raises(UserError, match="or run: pip install sentencepiece protobuf"):
        load_text_encoder(T5, CPU, folder_with("spiece.model"))
    load_text_encoder(T5, CPU, folder_with("tokenizer.json"))


@pytest.mark.slow
def test_conversion_takes_either_file_and_refuses_none(
    tmp_path: Path, folder_with: Callable[..., Path]
) -> None:
    small = shrunk("infinity_2b")
    write_release(small, tmp_path)
    released = tmp_path / "flan-t5-xl"
    shutil.rmtree(released)
    shutil.copytree(folder_with("spiece.model") / "text_encoder", released)
    made = tmp_path / "made"
    convert(small, released_files("infinity_2b", tmp_path), made)
    assert load_text_encoder(small, CPU, made).offsets("a cup")
    (released / "spiece.model").unlink()
    with pytest.raises(UserError, match=r"flan-t5-xl: has no tokenizer\.json"):
        convert(small, released_files("infinity_2b", tmp_path), made)
