"""Prompts and target words that are not what they should be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from editinfinity.files.prompts import read_prompt
from tests.bad_input.corpus import Accepted, Bad
from tests.bad_input.pictures import in_place_of, linked_outside, oversize

LINE, RIGHT, EITHER = Accepted.LINE, Accepted.RIGHT, Accepted.EITHER
EDIT = "prompt/edit_image_prompt.txt"
SOURCE = "prompt/original_image_prompt.txt"
WORD = "prompt/target_word.txt"


def holds(name: str, content: bytes | str) -> Callable[[Path], object]:
    """Write this in place of a text."""
    data = content.encode() if isinstance(content, str) else content
    return lambda case: (case / name).write_bytes(data)


def reads(text: str) -> Callable[[Path], None]:
    """The edit prompt is read as this."""

    def look(case: Path) -> None:
        assert read_prompt(case / EDIT) == text

    return look


PROMPTS = (
    Bad("no prompt", lambda case: (case / EDIT).unlink(), LINE, "edit_image_prompt.txt"),
    Bad("an empty prompt", holds(EDIT, ""), LINE, "edit_image_prompt.txt"),
    Bad("a prompt of blanks", holds(EDIT, " \n\t\u2003\n"), LINE, "edit_image_prompt.txt"),
    Bad("a prompt of five thousand words", holds(EDIT, "word " * 5000), LINE,
        "edit_image_prompt.txt"),
    Bad("a prompt without end", lambda case: oversize(case / EDIT), LINE, "edit_image_prompt.txt"),
    Bad("Latin-1", holds(EDIT, "ein grüner Hut".encode("latin-1")), LINE, "edit_image_prompt.txt"),
    Bad("UTF-16", holds(EDIT, "a green hat".encode("utf-16")), LINE, "edit_image_prompt.txt"),
    Bad("a picture for a prompt", holds(EDIT, bytes(range(256))), LINE, "edit_image_prompt.txt"),
    Bad("a null byte", holds(EDIT, "a\0cat"), LINE, "edit_image_prompt.txt"),
    Bad("terminal codes", holds(EDIT, "a \x1b[2Jcat"), LINE, "edit_image_prompt.txt"),
    Bad("a folder for a prompt", in_place_of(EDIT, Path.mkdir), LINE, "edit_image_prompt.txt"),
    Bad("a pipe for a prompt", in_place_of(EDIT, os.mkfifo), LINE, "edit_image_prompt.txt"),
    Bad("a device for a prompt", in_place_of(EDIT, lambda p: p.symlink_to("/dev/zero")), LINE,
        "edit_image_prompt.txt"),
    Bad("a link to nowhere", in_place_of(EDIT, lambda p: p.symlink_to("gone")), LINE,
        "edit_image_prompt.txt"),
    Bad("a prompt linked from elsewhere", linked_outside(EDIT), EITHER, "edit_image_prompt.txt",
        right=reads("a cat on a hill")),
    Bad("a source prompt in Latin-1", holds(SOURCE, "grün".encode("latin-1")), LINE,
        "original_image_prompt.txt"),
    Bad("the same prompt twice", holds(EDIT, "a dog on a hill"), EITHER, "edit_image_prompt.txt",
        right=reads("a dog on a hill")),
    Bad("lines and a byte order mark", holds(EDIT, b"\xef\xbb\xbfa cat\r\non a hill\r\n"), RIGHT,
        right=reads("a cat on a hill")),
    Bad("braces, quotes and signs", holds(EDIT, "a {cat} \"on\" 'a' $HOME `hill` %s \\n"), RIGHT,
        right=reads("a {cat} \"on\" 'a' $HOME `hill` %s \\n")),
    Bad("pictures for words", holds(EDIT, "🐈 ⛰️"), RIGHT, right=reads("🐈 ⛰️")),
)  # fmt: skip

WORDS = (
    Bad("a word that is not there", holds(WORD, "horse"), LINE, "target_word.txt"),
    Bad("a word inside another", holds(WORD, "do"), LINE, "target_word.txt"),
    Bad("an empty word", holds(WORD, "\n"), LINE, "target_word.txt"),
    Bad("a word without end", holds(WORD, "dog" * 99), LINE, "target_word.txt"),
    Bad("a pattern for a word", holds(WORD, ".*"), LINE, "target_word.txt"),
    Bad("an unclosed pattern", holds(WORD, "([dog"), LINE, "target_word.txt"),
    Bad("a word in Latin-1", holds(WORD, "Hündin".encode("latin-1")), LINE, "target_word.txt"),
    Bad("a word and no source prompt", lambda case: (case / SOURCE).unlink(), LINE,
        "target_word.txt"),
    Bad("a pipe for a word", in_place_of(WORD, os.mkfifo), LINE, "target_word.txt"),
    Bad("a word in capitals", holds(WORD, "DOG"), RIGHT),
    Bad("two words", holds(WORD, "dog  on"), RIGHT),
)  # fmt: skip
