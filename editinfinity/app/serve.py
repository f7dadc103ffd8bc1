"""Starts the server of the page, and ends it with everything that it started."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from editinfinity.app.edits import Edits
from editinfinity.app.events import Events
from editinfinity.app.project import Project
from editinfinity.app.run import WorkflowRun
from editinfinity.app.security import Guard, new_token
from editinfinity.app.server import Page
from editinfinity.errors import UserError

_HEADER_TIMEOUT = 10.0
"""Seconds within which the headers of a request must arrive."""

_MAX_CONNECTIONS = 100
"""Connections at once; further ones are answered with status 503."""


def serve(
    project: Project,
    shown: str | None,
    notices: list[str],
    port: int,
    on_start: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        project: the project folder.
        shown: name of the folder, for display; None if a photograph or nothing was opened.
        notices: lines to show when the page is opened.
        port: port to listen on; 0 for any that is free.
        on_start: called with the page's address when connections are accepted.

    Raises:
        UserError: the port is taken.
    """
    with _listener(port) as listener:
        port, token, events = listener.getsockname()[1], new_token(), Events()
        edits = Edits(project, events)
        run = WorkflowRun(project, events, edits.make_room)
        page = Page(project, edits, run, events, shown, notices)
        config = uvicorn.Config(
            Guard(page.app(), port, token),
            http=_Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        on_start(f"http://127.0.0.1:{port}/?token={token}")
        try:
            with suppress(KeyboardInterrupt):  # raised again by uvicorn after its own handling
                _Server(config, events).run(sockets=[listener])
        finally:
            run.close()
            edits.close()


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port: {port} cannot be used ({error.strerror}); leave it out for a free one"
        ) from None
    listener.listen(64)
    return listener


class _Server(uvicorn.Server):
    """A server that ends the pages' event streams when it is told to exit."""

    def __init__(self, config: uvicorn.Config, events: Events) -> None:
        super().__init__(config)
        self.events = events

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.events.close()


class _Protocol(H11Protocol):
    """HTTP that closes a connection whose request headers arrive too slowly."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_headers()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(_HEADER_TIMEOUT, self.transport.close)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
