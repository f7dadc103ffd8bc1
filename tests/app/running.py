"""The app as users start it: the command, and requests to its server."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

QUICK = ("--set", "train_lora_iter=2", "--set", "train_textembedding_iter=1")
"""Options with which a photograph is learned in a moment."""

_OWN_LEASES = tempfile.TemporaryDirectory(prefix="leases-")
"""Folder of leases, so that an app does not wait for other jobs on this machine; a short path."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body))


@dataclass
class App:
    """A running app.

    Attributes:
        process: the command.
        port: port of its server.
        token: the secret in its address.
        events: events of the page, in the order in which they came.
    """

    process: subprocess.Popen[str]
    port: int
    token: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, *arguments: str | Path, cwd: Path, model: str = "tiny") -> App:
        # -um: tests/ready.py leaves such a process alone, so that what it starts are its children.
        command = [sys.executable, "-um", "editinfinity", "app", "--no-open", "--model", model]
        return cls.start_command([*command, *map(str, arguments)], cwd)

    @classmethod
    def start_command(cls, command: Sequence[str], cwd: Path) -> App:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "XDG_RUNTIME_DIR": _OWN_LEASES.name},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        port, _, token = address.removeprefix("http://127.0.0.1:").partition("/?token=")
        return cls(process, int(port), token)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        cookie: bool = True,
    ) -> Answer:
        """Send a request as the page does: with the cookie, and with the page's origin."""
        sent = {"Origin": self.origin}
        if cookie:
            sent["Cookie"] = f"editinfinity_{self.port}={self.token}"
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with suppress(BrokenPipeError):  # refused before all of the body was sent
            connection.request(method, path, body, {**sent, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, b"")
        answer.body = response.read()
        connection.close()
        return answer

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.request("POST", path, {} if body is None else body, **options)

    def put(self, path: str, body: Any, **options: Any) -> Answer:
        return self.request("PUT", path, body, **options)

    def upload(self, content: bytes, name: str = "photo.png") -> Answer:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        body = f"--edge\r\n{head}\r\n\r\n".encode() + content + b"\r\n--edge--\r\n"
        type_ = {"Content-Type": "multipart/form-data; boundary=edge"}
        return self.request("POST", "/api/photographs", body, type_)

    def state(self) -> Any:
        return self.get("/api/state").json

    def photograph(self, name: str) -> dict[str, Any]:
        return next(p for p in self.state()["photographs"] if p["name"] == name)

    def listen(self) -> None:
        """Collect the events of a page that stays open."""

        def collect() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            cookie = {"Cookie": f"editinfinity_{self.port}={self.token}"}
            connection.request("GET", "/api/events", headers=cookie)
            response = connection.getresponse()
            while line := response.readline():
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line[6:]))

        threading.Thread(target=collect, daemon=True).start()

    def tries(self, photograph: str) -> list[dict[str, Any]]:
        return self.get(f"{path_of(photograph)}/tries").json

    def draw(self, photograph: str, **settings: Any) -> dict[str, Any]:
        """Draw a try, and return it when it has ended."""
        answer = self.post(f"{path_of(photograph)}/tries", {"settings": settings})
        assert answer.status == 202, answer.body
        return self.ended(photograph, answer.json["try"])

    def ended(self, photograph: str, number: int) -> dict[str, Any]:
        states = ("done", "failed", "cancelled")
        wait_until(lambda: self.tries(photograph)[number - 1]["state"] in states)
        return self.tries(photograph)[number - 1]

    def model_processes(self) -> list[int]:
        """Return the ids of the processes that the app has started."""
        ids = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(status.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    ids.append(int(status.parent.name))
            except OSError:
                continue
        return ids

    def close(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit status and what was printed as errors."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def path_of(photograph: str) -> str:
    return f"/api/photographs/{quote(photograph)}"


def wait_until(holds: Callable[[], bool], seconds: float = 240, step: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(step)


def png_of(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def box_mask(size: tuple[int, int], box: Sequence[int]) -> bytes:
    """A mask as the page sends it: white in the box (left, top, right, bottom)."""
    mask = Image.new("L", size)
    mask.paste(255, tuple(box))
    return png_of(mask)
