"""The protocol between a job and a worker: JSON messages, one per line.

Every message is an object with one key. A job sends ``run`` (a call, the digest of its code, its
working folder, and what changes with the weights' files) or ``leave``, and may send ``stop`` while
the stage runs. A worker answers ``accepted`` or ``refused``, then any number of ``log`` messages
(level, text, and an event of the job's record or null), then one of ``done``, ``fault``,
``stopped``, ``unexpected`` or ``refused``. The format is JSON, not pickle, because reading a
message must never execute code. Commands and the warm process (``warm_process``) use it, too.
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
_MAX_MESSAGE_BYTES = 16 * 2**20
_TIMEOUT = 5.0
"""Seconds to wait for a worker to accept a connection, and for a worker told to leave to exit."""


class ProtocolError(Exception):
    """Raised if a message does not follow the protocol."""


class Connection:
    """One end of a connection that sends and receives messages."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.descriptors: list[int] = []
        """Descriptors that messages brought: the lock of the job's lease. ``close`` closes them."""
        self._buffer = b""

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message, and optionally file descriptors with it.

        Raises:
            OSError: if the other side is gone.
        """
        data = json.dumps(message).encode() + b"\n"
        if descriptors:
            sent = socket.send_fds(self.socket, [data], list(descriptors))
            data = data[sent:]
        # If send_fds sent everything, the other side may have answered and closed already, and even
        # an empty sendall would fail.
        if data:
            self.socket.sendall(data)

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next message.

        Returns:
            The message; None if the other side has closed the connection or is gone.

        Raises:
            TimeoutError: if nothing arrived for ``timeout`` seconds.
            ProtocolError: if what arrived is not a valid message.
        """
        while (message := self._next_message()) is None:
            if not select.select([self.socket], [], [], timeout)[0]:
                raise TimeoutError
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 4)
            except OSError:
                return None
            self.descriptors += descriptors
            if not data:
                return None
            self._buffer += data
        return message

    def close(self) -> None:
        """Close the connection and the received file descriptors."""
        self.close_descriptors()
        self.socket.close()

    def close_descriptors(self) -> None:
        """Close the received file descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    def _next_message(self) -> dict[str, Any] | None:
        """Remove and return the first message in the buffer; None if it is not complete yet."""
        text, newline, rest = self._buffer.partition(b"\n")
        if len(text) > _MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message is too long ({len(text)} bytes or more)")
        if not newline:
            return None
        self._buffer = rest
        try:
            message = json.loads(text)
        except ValueError:
            raise ProtocolError("a message is not JSON") from None
        if not isinstance(message, dict) or len(message) != 1:
            raise ProtocolError("a message is not an object with one key")
        return message


def connect(path: Path) -> Connection:
    """Connect to a worker's socket.

    Raises:
        OSError: if no process of this user listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_TIMEOUT)
        sock.connect(str(path))
        sock.settimeout(None)
        require_same_user(sock)
    except BaseException:
        sock.close()
        raise
    return Connection(sock)


def require_same_user(sock: socket.socket) -> None:
    """Check that the process at the other end belongs to the same user.

    Only Linux reports the user. On other systems nothing is checked: there the socket is protected
    by its folder, which only its owner can access.

    Raises:
        PermissionError: if it belongs to another user.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user = _CREDENTIALS.unpack(data)[1]
    if user != os.getuid():
        raise PermissionError(f"the socket belongs to another user (uid {user})")


def request_exit(path: Path) -> None:
    """Tell a worker to exit, and wait until it has. A busy worker exits later by itself."""
    with suppress(OSError, ProtocolError), closing(connect(path)) as connection:
        connection.send({"leave": None})
        connection.receive(_TIMEOUT)
