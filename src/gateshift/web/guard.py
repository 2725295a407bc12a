"""Who may ask, and how much they may send: checked before anything else looks at a request."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "gateshift_token"
FORM_BYTES = 100_000  # what a form has around its file


class Guard:
    """Refuses requests without the token, and bodies that are too large or too slow.

    Args:
        app: Who gets the others.
        max_bytes: Largest file that may be sent.
        timeout_s: Longest time to send it.
        token: Known to who may ask; None lets everyone in.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, token: str | None) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI does."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":  # nothing here speaks anything else
            await send({"type": "websocket.close", "code": 1008})
        elif self.token is not None and not self._knows_token(scope):
            if scope["method"] == "GET" and self._is_token(_query_token(scope)):
                await _welcome(scope, send, self.token)
            else:
                await _refuse(
                    send, 401, "no token, or a wrong one; open /?token=TOKEN, or send Authorization: Bearer TOKEN"
                )
        else:
            await self._limited(scope, receive, send)

    def _knows_token(self, scope: Scope) -> bool:
        kind, _, given = _header(scope, b"authorization").partition(" ")
        if kind.lower() == "bearer":
            return self._is_token(given.strip())
        try:
            cookie = SimpleCookie(_header(scope, b"cookie")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), (self.token or "").encode())

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self.max_bytes + FORM_BYTES
        too_large = (
            413,
            f"the file has more than {self.max_bytes / 1e6:g} MB, the most that is taken; send a smaller one",
        )
        too_slow = 408, f"the file was not sent in {self.timeout_s:g} s, the longest time; send a smaller one"
        end_s = time.monotonic() + self.timeout_s
        length = _header(scope, b"content-length")
        if length.isdecimal() and int(length) > most:
            await _drain(receive, end_s)
            await _refuse(send, *too_large)
            return
        received, complete, started = 0, False, False
        refusal: tuple[int, str] | None = None

        async def count() -> Message:
            nonlocal received, complete, refusal
            if complete or refusal:  # what follows is that the client has gone
                return await receive() if not refusal else {"type": "http.disconnect"}
            try:
                message = await asyncio.wait_for(receive(), max(end_s - time.monotonic(), 0))
            except asyncio.TimeoutError:
                refusal = too_slow
                return {"type": "http.disconnect"}
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > most:
                refusal = too_large
                return {"type": "http.disconnect"}
            return message

        async def pass_on(message: Message) -> None:
            nonlocal started
            if refusal is None or started:
                started = True
                await send(message)

        try:
            await self.app(scope, count, pass_on)
        finally:
            if refusal is not None and not started:
                if refusal is too_large:
                    await _drain(receive, end_s)
                await _refuse(send, *refusal)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _query_token(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


async def _welcome(scope: Scope, send: Send, token: str) -> None:
    """Let the browser remember the token, and take it out of the address."""
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Lax; Path=/"
    headers = [(b"location", quote(scope["path"]).encode()), (b"set-cookie", cookie.encode())]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive, end_s: float) -> None:
    """Take the rest of a body and forget it: clients look for an answer only when they have sent everything."""
    with suppress(asyncio.TimeoutError):
        while True:
            message = await asyncio.wait_for(receive(), max(end_s - time.monotonic(), 0))
            if not message.get("more_body", False):
                return


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": text}).encode()})
