"""What the app's server refuses: requests of other origins, without the token, too large or slow.

Any web page can send requests to a server on this machine, and by DNS rebinding even under a name
of its own. So a request needs the right ``Host``, no foreign ``Origin``, and a cookie that only
the address printed by the command sets; one that changes something also needs a header that a
foreign page cannot send.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 256 * 2**20
"""Maximum size of an uploaded photograph or mask, in bytes."""

_MAX_BODY = 2**20
"""Maximum size of other requests, in bytes."""

_BODY_TIMEOUT = 20.0
"""Seconds within which the next part of a request must arrive."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every response, unless it sets them itself."""

CUSTOM_HEADER = "x-requested-with"
"""Header that makes a browser ask before a foreign page may send it."""


class RefusedError(Exception):
    """A request that is refused: its status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Guard:
    """ASGI middleware that lets only requests of the user's own page through.

    Args:
        app: the app behind it.
        port: the port on which the server listens.
        token: the secret in the address that the command prints.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self.app, self.token = app, token
        self.cookie = f"editinfinity_{port}"
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets
            return
        send = _with_headers(send)
        try:
            response = self._first_visit(scope) or self._checked(scope)
        except RefusedError as error:
            response = refusal(error.status, error.line)
        if response is not None:
            await response(scope, receive, send)
            return
        # The app answers a ``RefusedError`` that is raised while it reads the body.
        await self.app(scope, _bounded(receive, _limit_of(scope)), send)

    def _first_visit(self, scope: Scope) -> Response | None:
        """Return the response that sets the cookie, for the address that the command prints."""
        self._require_host(Headers(scope=scope))
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] != "/" or scope["method"] != "GET" or "token" not in query:
            return None
        if not self._is_token(query["token"][0]):
            raise RefusedError(403, "the token is wrong; open the address that the command printed")
        response = RedirectResponse("/", 303)
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return response

    def _checked(self, scope: Scope) -> Response | None:
        """Check a request.

        Raises:
            RefusedError: it is not of the user's own page, or too large.
        """
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        own = origin in [f"http://{host}" for host in self.hosts]
        if origin is not None and not own:
            raise RefusedError(403, "requests of other pages are refused")
        # As browsers read it: cookies of other local servers, which may hold anything, come too.
        cookies = cookie_parser(headers.get("cookie", ""))
        if not self._is_token(cookies.get(self.cookie, "")):
            raise RefusedError(
                403, "the token is missing; open the address that the command printed"
            )
        if scope["method"] not in ("GET", "HEAD") and not own and CUSTOM_HEADER not in headers:
            raise RefusedError(403, "a request that changes something needs its page's Origin")
        length = headers.get("content-length", "0")
        limit = _limit_of(scope)
        if not length.isdecimal() or int(length) > limit:
            raise _too_large(limit)
        return None

    def _require_host(self, headers: Headers) -> None:
        if headers.get("host") not in self.hosts:
            raise RefusedError(403, f"open http://{self.hosts[0]}: no other name is served")

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.token.encode())


def _bounded(receive: Receive, limit: int) -> Receive:
    """Return a ``receive`` that raises ``RefusedError`` for a body that is too large or slow."""
    received, complete = 0, False

    async def receiving() -> Message:
        nonlocal received, complete
        if complete:  # the next message comes when the page goes away
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), _BODY_TIMEOUT)
        except TimeoutError:
            raise RefusedError(408, "the request arrived too slowly; send it again") from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
        return message

    return receiving


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(24)


def refusal(status: int, line: str) -> Response:
    """Return a response with one line, as JSON; the connection is closed."""
    return JSONResponse({"error": line}, status, {"connection": "close"})


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"the file is larger than {limit // 2**20} MiB; give a smaller one")


def _limit_of(scope: Scope) -> int:
    takes_files = scope["path"] == "/api/photographs" or scope["path"].endswith("/mask")
    return MAX_UPLOAD if takes_files else _MAX_BODY


def _with_headers(send: Send) -> Send:
    """Return a ``send`` that adds ``_HEADERS`` to every response."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
