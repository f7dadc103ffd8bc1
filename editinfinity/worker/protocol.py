"""What a job and a worker say to each other: JSON, a line for each message.

Every message is an object with one key. A job sends ``run`` (a call and the digest of its code)
or ``leave``, and may send ``stop`` while the stage runs. A worker answers ``accepted`` or
``refused``, then any number of ``log`` (level, text, and an event of the job's record or null),
then one of ``done``, ``fault``, ``stopped``, ``unexpected``. Never anything that runs code when it
is read.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

_CREDENTIALS = struct.Struct("3i")
_LONGEST = 16 * 2**20
_PATIENCE = 5.0
"""Seconds that a worker has to take a call, and one that is sent away to go."""


class ProtocolError(Exception):
    """The other side said what nobody of ours says."""


class Line:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.handles: list[int] = []
        """Descriptors that came with the messages; the caller's to close."""
        self._bytes = b""

    def send(self, message: Mapping[str, Any], handles: Sequence[int] = ()) -> None:
        """Send a message, and perhaps open files with it.

        Raises:
            OSError: the other side is gone.
        """
        data = json.dumps(message).encode() + b"\n"
        if handles:
            sent = socket.send_fds(self.socket, [data], list(handles))
            data = data[sent:]
        # Even nothing cannot be sent to one that has answered and hung up by now.
        if data:
            self.socket.sendall(data)

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message.

        Returns:
            None when the other side has closed, or gone.

        Raises:
            TimeoutError: nothing came for ``timeout`` seconds.
            ProtocolError: it is no message.
        """
        while (message := self._whole()) is None:
            if not select.select([self.socket], [], [], timeout)[0]:
                raise TimeoutError
            try:
                data, handles, _, _ = socket.recv_fds(self.socket, 65536, 4)
            except OSError:
                return None
            self.handles += handles
            if not data:
                return None
            self._bytes += data
        return message

    def close(self) -> None:
        """Hang up."""
        for handle in self.handles:
            os.close(handle)
        self.handles = []
        self.socket.close()

    def _whole(self) -> dict[str, Any] | None:
        """The message at the front of what has arrived, if all of it has."""
        text, end, rest = self._bytes.partition(b"\n")
        if len(text) > _LONGEST:
            raise ProtocolError(f"a message of {len(text)} bytes and more is too long")
        if not end:
            return None
        self._bytes = rest
        try:
            message = json.loads(text)
        except ValueError:
            raise ProtocolError("a message is no JSON") from None
        if not isinstance(message, dict) or len(message) != 1:
            raise ProtocolError("a message is no object of one key")
        return message


def connect(path: Path) -> Line:
    """Call a worker.

    Raises:
        OSError: nobody of this user listens there.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.settimeout(_PATIENCE)
        end.connect(str(path))
        end.settimeout(None)
        require_same_user(end)
    except BaseException:
        end.close()
        raise
    return Line(end)


def require_same_user(end: socket.socket) -> None:
    """Refuse to talk to anybody else's process.

    Linux tells whose it is; elsewhere the folder of the socket, which only its owner can enter, has
    to do.

    Raises:
        PermissionError: it is another user's.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return
    data = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user = _CREDENTIALS.unpack(data)[1]
    if user != os.getuid():
        raise PermissionError(f"user {user} is at the other end of the socket")


def ask_to_leave(path: Path) -> None:
    """Send a worker away and wait until it has gone; one that is busy goes later by itself."""
    with suppress(OSError, ProtocolError), closing(connect(path)) as line:
        line.send({"leave": None})
        line.receive(_PATIENCE)
