"""Prompts from files and tables, and where words stand in them."""

from pathlib import Path

import pytest

from editinfinity.errors import UserError
from editinfinity.files.prompts import read_prompt, read_target_word
from editinfinity.prompts import CAPTION_SUFFIX, find_word, tokens_of


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "data, text",
    [
        (b"  a red cup \r\n on a table\n\n", "a red cup on a table"),
        (b"\xef\xbb\xbfa caf\xc3\xa9", "a café"),
        ("une tasse « bleue » ☕".encode(), "une tasse « bleue » ☕"),
    ],
)
def test_prompts_are_stripped_utf8(tmp_path: Path, data: bytes, text: str) -> None:
    assert read_prompt(write(tmp_path / "p.txt", data)) == text


@pytest.mark.parametrize(
    "data, fault",
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        ("grün".encode("latin-1"), "is not UTF-8"),
        ("a cup".encode("utf-16"), "is not UTF-8"),
        (b"a\x00cup", "control character"),
        (b"x" * 4001, "shorten it to 4000"),
        (b"x" * 100_000, "the limit is 32,000 bytes"),
    ],
)
def test_unusable_prompts_name_file_and_fault(tmp_path: Path, data: bytes, fault: str) -> None:
    with pytest.raises(UserError, match=rf"p\.txt: .*{fault}"):
        read_prompt(write(tmp_path / "p.txt", data))


def test_missing_prompt_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"p\.txt: there is no such file"):
        read_prompt(tmp_path / "p.txt")
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_prompt(tmp_path)


def test_source_prompt_may_be_empty_and_text_may_come_from_a_table(tmp_path: Path) -> None:
    assert read_prompt(write(tmp_path / "p.txt", b"\n"), may_be_empty=True) == ""
    assert read_prompt(" a  cup ") == "a cup"
    with pytest.raises(UserError, match="edit prompt: is empty"):
        read_prompt("", what="edit prompt")


def test_target_word(tmp_path: Path) -> None:
    assert read_target_word(write(tmp_path / "w.txt", b"red  cup\n")) == "red cup"
    with pytest.raises(UserError, match=r"w\.txt: is empty"):
        read_target_word(write(tmp_path / "w.txt", b""))
    with pytest.raises(UserError, match="shorten it to 100"):
        read_target_word("x" * 101)


@pytest.mark.parametrize(
    "prompt, word, found",
    [
        ("a cup on a table", "cup", "cup"),
        ("a Cup on a table", "cup", "Cup"),
        ("a cupboard and a cup.", "CUP", "cup"),
        ("the red cup, full", "red cup", "red cup"),
        ("un café-bar", "café", "café"),
        ("a c++ book", "c++", "c++"),
        ("the dog's bowl", "dog", "dog"),
        ("un cafe\u0301-bar", "caf\u00e9", "cafe\u0301"),
        ("un caf\u00e9-bar", "CAFE\u0301", "caf\u00e9"),
        ("a red\u00a0cup", "red cup", "red\u00a0cup"),
        ("a red cup", "red\u202fcup", "red cup"),
        ("a \uff43\uff41\uff54, big", "cat", "\uff43\uff41\uff54"),
        ("eine Straße", "STRASSE", "Straße"),
        ("a strasse", "straße", "strasse"),
        ("İstanbul at night", "istanbul", "İstanbul"),
        ("a \ufb01sh", "fish", "\ufb01sh"),
        ("검은 \u1100\u1162", "\uac1c", "\u1100\u1162"),
        ("a cup\u00adboard", "cupboard", "cup\u00adboard"),
    ],
)
def test_whole_words_are_found_whatever_their_case(prompt: str, word: str, found: str) -> None:
    start, end = find_word(prompt, word)
    assert prompt[start:end] == found
    assert start == prompt.rindex(found) or prompt.count(found) > 1


def test_the_whole_word_wins_over_an_earlier_part_of_another() -> None:
    assert find_word("a cupboard and a cup", "cup") == (17, 20)


def test_absent_words_and_parts_of_words_are_told_apart() -> None:
    with pytest.raises(UserError, match=r"w\.txt: 'dog' is not in the source prompt 'a cup'"):
        find_word("a cup", "dog", "w.txt")
    with pytest.raises(UserError, match="'cup' is only a part of 'cupboard'"):
        find_word("a cupboard", "cup")
    for prompt, part in (("a Maß", "s"), ("\u0915\u093f", "\u0915")):
        with pytest.raises(UserError, match="is only a part of"):
            find_word(prompt, part)
    with pytest.raises(UserError, match="is not in the source prompt"):
        find_word("a cafe\u0301", "cafe")
    with pytest.raises(UserError, match="is not in the source prompt"):
        find_word("", "cup")
    with pytest.raises(UserError, match="is empty"):
        find_word("a cup", " ")


def test_tokens_of_a_word() -> None:
    #            [CLS]   a       cup     ##board  [SEP]
    offsets = [(0, 0), (0, 1), (2, 5), (5, 10), (0, 0)]
    assert tokens_of((2, 10), offsets) == (2, 4)
    assert tokens_of((0, 1), offsets) == (1, 2)
    with pytest.raises(UserError, match="no token"):
        tokens_of((20, 22), offsets)


def test_caption_carries_the_methods_suffix() -> None:
    assert "a cup" + CAPTION_SUFFIX == "a cup, the language style of this prompt is"
