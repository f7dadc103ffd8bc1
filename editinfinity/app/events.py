"""Server-sent events: what happens in the threads of the app, told to every open page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

_MAX_WAITING = 1000
"""Events that a page may leave unread before its connection is closed; it then connects again."""

_PING_SECONDS = 15.0
"""Seconds after which something is sent, so that a connection that has died is noticed."""


class Events:
    """Sends events to all open pages. ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._pages: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def publish(self, kind: str, **content: Any) -> None:
        """Send an event to every open page.

        Args:
            kind: its type, ``{"type": kind, …}``.
            content: its other keys.
        """
        text = f"data: {json.dumps({'type': kind, **content})}\n\n"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send, text)

    def close(self) -> None:
        """End the streams of all pages. To be called in the event loop's thread."""
        self._closed = True
        self._send(None)

    def _send(self, text: str | None) -> None:
        for page in list(self._pages):
            if page.qsize() < _MAX_WAITING:
                page.put_nowait(text)
            else:
                self._pages.discard(page)

    async def stream(self) -> AsyncIterator[str]:
        """Yield events as text for ``text/event-stream`` until the page or the app is closed."""
        self._loop = asyncio.get_running_loop()
        page: asyncio.Queue[str | None] = asyncio.Queue()
        self._pages.add(page)
        try:
            yield ": connected\n\n"
            while not self._closed and page in self._pages:
                try:
                    text = await asyncio.wait_for(page.get(), _PING_SECONDS)
                except TimeoutError:
                    text = ": still connected\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._pages.discard(page)
