"""Fingerprints: they change with a content, and with nothing else; no file is read twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from editinfinity.files.model_folder import RECORD_NAME
from editinfinity.files.opening import MAX_BYTES
from editinfinity.planning import digests, fingerprint
from editinfinity.planning.digests import CACHE, MAX_UNCACHED, Digests
from tests.workflow.project import BARE, Project

CONTENT = bytes(range(256)) * 1024
"""Longer than what is read each time."""

LONG_AGO = 10**18
"""A time of modification, in nanoseconds."""

TICK = 0.02
"""Seconds; longer than a step of the clock that files' times are of."""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are written now count as old enough."""
    monkeypatch.setattr(digests, "_MIN_AGE_NS", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    real = hashlib.file_digest

    def watched(file, digest):
        names.append(Path(file.name).name)
        return real(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    return names


def kept_in(folder: Path) -> Digests:
    """Digests as the next process finds them."""
    found = Digests()
    found.persist_in(folder)
    return found


def photograph(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "a.tif"
    path.write_bytes(content)
    return path


def test_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("a  red hat\n", encoding="utf-8")
    assert fingerprint.of_text(path) == fingerprint.of_text("a red hat")
    assert fingerprint.of_text("a red hat") != fingerprint.of_text("a blue hat")
    path.write_bytes(b"\xff\xfe")
    assert fingerprint.of_text(path) not in (fingerprint.MISSING, fingerprint.of_text(""))
    assert fingerprint.of_text(tmp_path / "none.txt") == fingerprint.MISSING
    assert fingerprint.of_text(None) == "none"
    monkeypatch.setattr(fingerprint, "_MAX_TEXT_BYTES", 1)
    assert fingerprint.of_text(path) == fingerprint.of_file(path)


def test_files_by_their_whole_content(tmp_path: Path) -> None:
    seen = set()
    middle = len(CONTENT) // 2
    for changed in (
        *(CONTENT, b"x" + CONTENT[1:], CONTENT[:-1] + b"x", CONTENT + b"x", b"", b"x"),
        CONTENT[:middle] + b"x" + CONTENT[middle + 1 :],
    ):
        path = photograph(tmp_path, changed)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
        seen.add(fingerprint.of_file(path))
    assert len(seen) == 7
    assert fingerprint.of_file(None) == "none"


def test_what_cannot_be_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "b", tmp_path / "pipe", Path("/dev/zero"), Path("a\0b")):
        assert fingerprint.of_file(path) == fingerprint.MISSING
        assert fingerprint.of_text(path) == fingerprint.MISSING
        assert fingerprint.of_each([path], "files") == {path: fingerprint.MISSING}
    # What the stages refuse is not worth reading, what they read is.
    assert fingerprint.MAX_BYTES == MAX_BYTES
    monkeypatch.setattr(fingerprint, "MAX_BYTES", len(CONTENT) - 1)
    assert fingerprint.of_file(photograph(tmp_path)) == fingerprint.MISSING


def test_weights_by_name_and_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    assert fingerprint.of_files([a, b]) == fingerprint.of_files([b, a])
    assert fingerprint.of_files([a]) != fingerprint.of_files([a, b])
    assert fingerprint.of_files([]) == fingerprint.MISSING
    before = fingerprint.of_files([a, b])
    a.write_bytes(b"2")
    b.write_bytes(b"1")
    assert fingerprint.of_files([a, b]) != before


def test_a_known_file_is_not_read_again(tmp_path: Path, settled: None, read: list[str]) -> None:
    path, small = photograph(tmp_path), tmp_path / "small"
    small.write_bytes(CONTENT[:MAX_UNCACHED])
    first = kept_in(tmp_path)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert first.of(path) == first.of(path) == digest
    assert first.of(small) == first.of(small) != digest
    first.save()
    assert read == ["a.tif", "small", "small"]

    later = kept_in(tmp_path)
    assert later.of(path) == digest and later.of_each([path]) == {path: digest}
    assert len(read) == 3
    saved = (tmp_path / CACHE).stat()
    later.save()  # nothing is new
    assert (tmp_path / CACHE).stat() == saved


def test_a_retouched_file_of_equal_size_and_time_is_read_again(
    tmp_path: Path, settled: None, read: list[str]
) -> None:
    path = photograph(tmp_path)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    known = kept_in(tmp_path)
    before = known.of(path)
    time.sleep(TICK)
    photograph(tmp_path, CONTENT[::-1])
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert known.of(path) == hashlib.sha256(CONTENT[::-1]).hexdigest() != before
    os.utime(path)  # another time, the same content
    assert fingerprint.of_file(path) == known.of(path)[:16]


def test_what_changed_just_now_or_in_the_future_is_not_trusted(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photograph(tmp_path)
    known = kept_in(tmp_path)

    def reads(at: float) -> int:
        """How often a file is read that is asked for twice, so many seconds after its change."""
        read.clear()
        monkeypatch.setattr(time, "time_ns", lambda: int(changed + at * 1e9))
        known.of(path), known.of(path)
        return len(read)

    changed = path.stat().st_ctime_ns
    assert reads(at=-3600) == reads(at=1.9) == 2
    assert reads(at=2.1) == 1  # from here on it is known
    assert reads(at=10) == 0
    assert reads(at=1.9) == 2


def test_a_file_that_changes_while_it_is_read_is_not_known(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, known, real = photograph(tmp_path), kept_in(tmp_path), hashlib.file_digest

    def changing(file, digest):
        found = real(file, digest)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
        return found

    monkeypatch.setattr(hashlib, "file_digest", changing)
    known.of(path)
    known.save()
    assert not (tmp_path / CACHE).exists()


def test_many_are_read_side_by_side_and_a_line_says_so(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(number) for number in range(9)]
    for number, path in enumerate(paths):
        path.write_bytes(CONTENT + bytes([number]))
    monkeypatch.setattr(digests, "_PROGRESS_AFTER", 0.01)
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: time.sleep(0.01) or real(*given))
    told: list[str] = []
    known = Digests()
    known.persist_in(tmp_path, told.append)
    found = known.of_each([*paths, tmp_path / "none"], "photographs")
    assert found.pop(tmp_path / "none") is None
    assert found == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert told == ["reading 9 photographs once (0.0 GB)"]
    assert known.of_each(paths, "photographs") == found
    assert len(told) == 1


def test_a_long_reading_is_saved_from_time_to_time(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SAVE_EVERY", 0)
    kept_in(tmp_path).of(photograph(tmp_path))
    assert (tmp_path / CACHE).exists()


SAVING = """
import sys
from pathlib import Path
from editinfinity.planning import digests
digests._MIN_AGE_NS, digests._SAVE_EVERY = 0, float(sys.argv[2])
digests.DIGESTS.persist_in(Path())
for path in sorted(Path(sys.argv[1]).iterdir()):
    assert digests.DIGESTS.of(path)
"""


def test_processes_that_save_at_once_keep_a_whole_file(tmp_path: Path) -> None:
    content: dict[str, str] = {}

    def add(folder: str, name: str) -> None:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENT + f"{folder} {name}".encode())
        content[str(path.stat().st_ino)] = hashlib.sha256(path.read_bytes()).hexdigest()

    for number in range(20):
        add("one", str(number))
        add("two", str(number))

    def saving(folder: str, every: float) -> subprocess.Popen:
        command = [sys.executable, "-c", SAVING, folder, str(every)]
        return subprocess.Popen(command, cwd=tmp_path)

    def kept() -> int:
        found = json.loads((tmp_path / CACHE).read_text())
        assert all(content[key.split()[1]] == digest for key, digest in found.items())
        return len(found)

    both = [saving(folder, every=0) for folder in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    assert kept() >= 20
    # One after the other, each at its exit: what was lost is read again, the rest stays.
    add("one", "new")
    assert [saving(folder, every=3600).wait() for folder in ("one", "two")] == [0, 0]
    assert kept() == 41
    assert not list((tmp_path / CACHE).parent.glob(".tmp*"))


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[1]", b'{"a": 1}', b"\xff", b"[" * 100_000, b'{"a": "%s"}' % (b"0" * 2**24)],
    ids=["empty", "cut", "list", "number", "bytes", "deep", "huge"],
)
def test_a_damaged_file_is_ignored_and_replaced(
    tmp_path: Path, settled: None, damage: bytes
) -> None:
    (tmp_path / CACHE).parent.mkdir(parents=True)
    (tmp_path / CACHE).write_bytes(damage)
    known = kept_in(tmp_path)
    assert known.of(photograph(tmp_path)) == hashlib.sha256(CONTENT).hexdigest()
    known.save()
    assert list(json.loads((tmp_path / CACHE).read_text()).values()) == [
        known.of(tmp_path / "a.tif")
    ]


def test_a_folder_that_cannot_be_written_to_costs_nothing(tmp_path: Path, settled: None) -> None:
    (tmp_path / CACHE.parts[0]).write_bytes(b"a file where the folder would be")
    known = kept_in(tmp_path)
    assert known.of(photograph(tmp_path)) is not None
    known.save()
    (pipe := tmp_path / "piped" / CACHE).parent.mkdir(parents=True)
    os.mkfifo(pipe)
    assert kept_in(tmp_path / "piped").of(tmp_path / "a.tif") is not None


def test_what_was_not_used_for_longest_goes(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MAX_ENTRIES", 2)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(CONTENT + path.name.encode())
    for asked in (paths[:2], [paths[0], paths[2]]):  # the first is used again
        known = kept_in(tmp_path)
        known.of_each(asked)
        known.save()
    kept = json.loads((tmp_path / CACHE).read_text())
    assert list(kept.values()) == [known.of(paths[0]), known.of(paths[2])]


def converted(folder: Path) -> Path:
    """A folder with a file of weights and the record of its conversion."""
    folder.mkdir()
    (folder / "text_encoder").mkdir()
    parts = {}
    for name in ("transformer.safetensors", "text_encoder/model.safetensors"):
        content = CONTENT + name.encode()
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        parts[name] = {"file": name, "sha256": digest, "bytes": len(content)}
    (folder / RECORD_NAME).write_text(json.dumps({"parts": parts}))
    os.utime(folder / RECORD_NAME)
    return folder


def weights_in(folder: Path) -> str:
    return fingerprint.of_files(sorted(folder.rglob("*.safetensors")))


def test_weights_as_their_conversion_recorded_them_are_not_read(
    tmp_path: Path, read: list[str]
) -> None:
    folder = converted(tmp_path / "weights")
    identity = weights_in(folder)
    assert not read
    (folder / RECORD_NAME).rename(tmp_path / RECORD_NAME)
    assert weights_in(folder) == identity, "the record and the content give the same"
    assert len(read) == 2


def test_weights_that_moved_are_the_same_weights(tmp_path: Path, read: list[str]) -> None:
    folder = converted(tmp_path / "weights")
    identity = weights_in(folder)
    moved = folder.rename(tmp_path / "moved")
    assert weights_in(moved) == identity
    assert not read
    time.sleep(TICK)
    os.utime(moved / "transformer.safetensors")
    assert weights_in(moved) == identity
    assert read == ["transformer.safetensors"]
    assert weights_in(shutil.copytree(moved, tmp_path / "copied")) == identity


SWAPS = {
    "written": lambda new, place: place.write_bytes(new.read_bytes()),
    "renamed": lambda new, place: new.rename(place),
    "linked": lambda new, place: (place.unlink(), place.symlink_to(new)),
    "shorter": lambda new, place: os.truncate(place, 1000),
}


@pytest.mark.parametrize("way", SWAPS)
def test_weights_that_were_swapped_are_seen(tmp_path: Path, way: str) -> None:
    new = tmp_path / "new"
    new.write_bytes(CONTENT[::-1] + b"transformer.safetensors")
    os.utime(new, ns=(LONG_AGO, LONG_AGO))
    folder = converted(tmp_path / "weights")
    identity = weights_in(folder)
    place = folder / "transformer.safetensors"
    time.sleep(TICK)
    SWAPS[way](new, place)
    if way != "linked":
        os.utime(place, ns=(LONG_AGO, LONG_AGO))
    assert weights_in(folder) != identity


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{",
        '{"parts": 1}',
        '{"parts": {"a": {"file": "transformer.safetensors", "sha256": "x", "bytes": 262167}}}',
        '{"parts": {"a": {"file": "transformer.safetensors", "sha256": "%s"}}}' % ("0" * 64),
    ],
)
def test_a_record_that_says_nothing_of_use_is_not_trusted(tmp_path: Path, record: str) -> None:
    folder = converted(tmp_path / "weights")
    identity = weights_in(folder)
    (folder / RECORD_NAME).write_text(record)
    assert weights_in(folder) == identity


@pytest.mark.slow
def test_planning_reads_what_the_jobs_that_it_plans_depend_on(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    image = project.add_case("case") / "image" / "original_image.jpg"
    image.write_bytes(image.read_bytes() + CONTENT)
    backbone = tmp_path / "squeezenet1_1.pth"
    backbone.write_bytes(CONTENT)
    time.sleep(2.1)  # until they are trusted

    def known(**settings: object) -> set[int]:
        project.configure(**BARE, lpips_weights=str(tmp_path), **settings)
        project.run("-n")
        return {int(key.split()[1]) for key in json.loads((project.folder / CACHE).read_text())}

    assert known(metrics=0) == {image.stat().st_ino}
    assert known(metrics=1) == {image.stat().st_ino, backbone.stat().st_ino}
