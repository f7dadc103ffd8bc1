"""A process that need not import is to everybody what it would have been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TELL = """
from editinfinity import errors
import os, signal, sys
extra, number = int(sys.argv[1]), os.environ["NUMBER"]
print(sys.argv, sys.path[0], os.getcwd(), number, sys.stdin.read(), __name__, errors.__file__)
print(signal.getsignal(signal.SIGINT))
print(os.read(extra, 9), os.umask(0), "torch" in sys.modules, file=sys.stderr)
if number == "9":
    os.kill(os.getpid(), 9)
sys.exit(int(number) if number.isdigit() else number)
"""


@pytest.mark.slow
@pytest.mark.imports_itself
def test_arguments_surroundings_files_and_how_it_ends(
    tmp_path: Path, process_with_libraries: dict[str, str]
) -> None:
    def tell(number: str, **variables: str) -> tuple[int, str, list[str]]:
        reading, writing = os.pipe()
        os.write(writing, b"more")
        done = subprocess.run(
            [sys.executable, "-c", TELL, str(reading), "two words"],
            cwd=tmp_path, pass_fds=[reading], text=True, capture_output=True, umask=0o27,
            input="given", env={**os.environ, "NUMBER": number, **variables},
            preexec_fn=lambda: signal.signal(signal.SIGINT, interrupt[number]),
        )  # fmt: skip
        os.close(reading)
        os.close(writing)
        return done.returncode, done.stdout.replace(str(reading), "N"), done.stderr.split()

    interrupt = dict.fromkeys(("0", "9", "a reason"), signal.SIG_DFL) | {"3": signal.SIG_IGN}
    usual = [tell(number) for number in interrupt]
    ready = [tell(number, **process_with_libraries) for number in interrupt]
    assert [end[0] for end in usual] == [0, -signal.SIGKILL, 1, 3]
    for (status, out, err), (other_status, other_out, other_err) in zip(usual, ready, strict=True):
        assert (status, out) == (other_status, other_out)
        assert [word.replace("False", "True") for word in err] == other_err
    assert "False" in usual[0][2], "there is nothing that it need not import"


@pytest.mark.slow
def test_who_is_killed_takes_the_fork_along() -> None:
    code = "from editinfinity import errors; import os, time; print(os.getpid(), flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(600)"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        assert fork != process.pid and Path(f"/proc/{fork}").exists()
        process.kill()
        assert process.stdout.read() == "", "it ends when all that write to it have"
    assert process.returncode == -signal.SIGKILL
