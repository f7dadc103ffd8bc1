"""A stand-in of the Hugging Face hub: what ``huggingface_hub`` asks of it, over real HTTP.

Serves the folders of repositories, with ranges (so that downloads resume), SHA-256 for large files
and Git's hash for small ones. Can be told to break off in the middle of a file, or to damage one.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 4096
"""Files from this many bytes are kept as the hub keeps large ones."""


class Hub:
    """The server.

    Attributes:
        repositories: name → folder.
        requests: (method, path, Range) of every request.
        break_off: names of files to send only half of, once each.
        damage: names of files to send with another last byte.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.requests: list[tuple[str, str, str | None]] = []
        self.break_off: set[str] = set()
        self.damage: set[str] = set()
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def downloads(self) -> list[tuple[str, str | None]]:
        """(file, range) of every file that was asked for in earnest."""
        return [
            (p.rpartition("/")[2], r)
            for m, p, r in self.requests
            if m == "GET" and "/resolve/" in p
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self._json(self._info, match[1])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            self._json(self._tree, match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[3], body)
        else:
            self._refuse("EntryNotFound")

    def _folder(self, repository: str) -> Path | None:
        return self.hub.repositories.get(repository)

    def _json(self, make: Any, repository: str) -> None:
        folder = self._folder(repository)
        if folder is None:
            self._refuse("RepoNotFound")
            return
        data = json.dumps(make(repository, folder)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _info(self, repository: str, folder: Path) -> dict[str, Any]:
        siblings = [{"rfilename": name} for name, _ in _files(folder)]
        return {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
        }

    def _tree(self, repository: str, folder: Path) -> list[dict[str, Any]]:
        rows = []
        for name, path in _files(folder):
            data = path.read_bytes()
            row: dict[str, Any] = {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": _git(data),
            }
            if len(data) >= LARGE:
                oid = hashlib.sha256(data).hexdigest()
                row["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 130}
            rows.append(row)
        return rows

    def _file(self, repository: str, name: str, body: bool) -> None:
        folder = self._folder(repository)
        if folder is None:
            self._refuse("RepoNotFound")
            return
        path = folder / name
        if not path.is_file():
            self._refuse("EntryNotFound")
            return
        data = path.read_bytes()
        large = len(data) >= LARGE
        etag = hashlib.sha256(data).hexdigest() if large else _git(data)
        if path.name in self.hub.damage:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(asked[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if large:
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        if path.name in self.hub.break_off:
            self.hub.break_off.discard(path.name)
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(data[start:])

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", "not found")
        self.send_header("Content-Length", "0")
        self.end_headers()


def _files(folder: Path) -> list[tuple[str, Path]]:
    return [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Hub]:
    """A hub that runs while the block does."""
    hub = Hub(repositories)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()
