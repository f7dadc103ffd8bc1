"""Completion as it is installed, in the shells that this machine has."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

COLUMNS, LINES = 400, 30  # a prompt may show the folder, and nothing must wrap
SHELLS = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
"""Shell → the file in the home folder that it reads first."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.imports_itself,
    pytest.mark.skipif(
        not Path(sys.executable).with_name("editinfinity").exists(), reason="is not installed"
    ),
]


class Typing:
    """A shell at a terminal, at which a test types."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)

    def shows(self, text: str, seconds: float) -> bool:
        """Wait until a text is on the screen; return whether it is."""
        end = time.monotonic() + seconds
        while text not in "\n".join(self.screen.display):
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                return False
            self._stream.feed(os.read(self.terminal, 65536))
        return True

    def completes(self, words: str, expected: str) -> bool:
        """Type words and Tab, again where nothing comes of it; forget the line."""
        os.write(self.terminal, words.encode())
        shown = False
        for _ in range(6):
            os.write(self.terminal, b"\t")
            if shown := self.shows(expected, 5):
                break
        os.write(self.terminal, b"\x15\x0c")  # Ctrl-U, Ctrl-L: the line and the screen are empty
        self.screen.reset()
        return shown


@contextmanager
def typing(shell: str, home: Path, folder: Path) -> Iterator[Typing]:
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(shell, [shell, "-i"], environment(home))
    try:
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        session = Typing(terminal)
        os.write(terminal, b"echo re''ady\r")  # what is typed is shown, but not in this spelling
        assert session.shows("ready", 60)
        yield session
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def environment(home: Path) -> dict[str, str]:
    commands = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join(commands),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


@pytest.fixture(params=[
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason="no such shell"))
    for shell in SHELLS
])  # fmt: skip
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Typing]:
    """A new shell of a home folder where completion was installed, in a folder with pictures."""
    shell: str = request.param
    home, folder = tmp_path / "home", tmp_path / "pictures"
    first = home / SHELLS[shell]
    first.parent.mkdir(parents=True)
    first.touch()  # else zsh asks questions
    # Else fish makes completions of all manual pages.
    (home / ".local/share/fish/generated_completions").mkdir(parents=True)
    folder.mkdir()
    for name in ("photo one.jpg", "picture.png"):
        (folder / name).touch()
    # As typed: what the shell runs last would take its place, and not know whose child it is.
    installing = [shell, "-c", "editinfinity --install-completion && echo installed"]
    subprocess.run(installing, check=True, env=environment(home), timeout=60)
    with typing(shell, home, folder) as session:
        yield session


def test_an_installed_completion_completes(session: Typing) -> None:
    for words, expected in (
        ("wei", "weights"),
        ("edit picture.png --find-m", "--find-mask "),
        ("edit picture.png --mask-edit-region tr", "region transparent "),
        ("weights fetch infinity_1", "fetch infinity_125m "),
        ("edit pic", "edit picture.png "),
        ("edit picture.png --mask pho", "--mask photo\\ one.jpg "),
    ):
        assert session.completes(f"editinfinity {words}", expected), words
