"""JSON over HTTP, and who may send how much."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, File, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.exceptions import HTTPException
from starlette.middleware.authentication import AuthenticationMiddleware

from gateshift.errors import VideoError
from gateshift.version import __version__
from gateshift.web.scoring import Answer, BusyError, Scorer

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "gateshift_token"
FORM_BYTES = 100_000  # what a form has around its file
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PROBLEMS = {
    401: "No token, or a wrong one.",
    408: "The file was sent too slowly.",
    413: "The file is too large.",
    422: "No file, not a video, or a video beyond the limits.",
    503: "Too many requests wait; try again later.",
}


@dataclass(frozen=True)
class ModelRecord:
    """The model that answers, the version of gateshift, and the limits of a request."""

    name: str
    classes: tuple[str, ...]
    protocol: str
    backbone: str
    temporal: str
    version: str
    limits: dict[str, int | float]


def create_app(scorer: Scorer) -> FastAPI:
    """The routes of a model's server, without the page."""
    settings = scorer.settings
    problems: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "model": dict[str, str]} for status, text in PROBLEMS.items()
    }
    # The usual pages at /docs take their scripts from another server.
    app = FastAPI(title="gateshift", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimits, max_bytes=settings.max_bytes, timeout_s=settings.timeout)
    if settings.token is not None:
        backend = TokenBackend(settings.token)
        app.add_middleware(AuthenticationMiddleware, backend=backend, on_error=backend.refuse)
    for kind in (VideoError, BusyError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer_error)

    @app.get("/api/model")
    def describe_model() -> ModelRecord:
        """Classes, test protocol and limits."""
        config, limits = scorer.model.config, {"max_mb": settings.max_mb, "timeout_s": settings.timeout}
        limits |= {"max_duration_s": settings.max_duration, "max_side_px": settings.max_side}
        names = (config.backbone, config.temporal, __version__)
        return ModelRecord(settings.model.name, tuple(config.classes), scorer.how, *names, limits)

    # Not async: it waits for decoding in a thread, and other requests go on.
    @app.post("/api/predict", responses=problems)
    def predict_upload(
        file: Annotated[UploadFile, File(description="A video file.")],
        top: Annotated[int, Query(ge=1, description="How many classes to name.")] = 5,
        timeline: Annotated[bool, Query(description="Whether to say what happens when.")] = False,
    ) -> Answer:
        """Classify a video."""
        if (file.size or 0) > settings.max_bytes:
            raise too_large(settings.max_bytes)
        # The client's name for the file is not used, and without a suffix its content alone says what it is.
        with tempfile.TemporaryDirectory(prefix="gateshift-serve-") as folder:
            path = Path(folder) / "upload"
            with path.open("wb") as written:
                shutil.copyfileobj(file.file, written)
            return scorer.answer(path, top=top, timeline=timeline)[0]

    # Or the page would answer these, in words of its own.
    @app.api_route("/api/{name:path}", methods=METHODS, include_in_schema=False)
    def refuse_others(request: Request) -> None:
        text = f"nothing here answers {request.method} {request.url.path}; /openapi.json says what is accepted"
        raise HTTPException(404, text)

    return app


async def answer_error(_: Request, error: Exception) -> JSONResponse:
    """Whatever is wrong with a request, the answer is one line under ``error``."""
    status, text, headers = 422, str(error), None
    if isinstance(error, HTTPException):
        status, text, headers = error.status_code, str(error.detail), error.headers
    elif isinstance(error, BusyError):
        status, headers = 503, {"Retry-After": "10"}
    elif isinstance(error, RequestValidationError):
        wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        text = f"{wrong}; /openapi.json says what is accepted"
    return JSONResponse({"error": text}, status, headers)


def too_large(max_bytes: int) -> HTTPException:
    """The answer to a file above the limit."""
    return HTTPException(413, f"the file has more than {max_bytes / 1e6:g} MB; send a smaller one")


class TokenBackend(AuthenticationBackend):
    """Accepts requests with the token as ``Authorization: Bearer`` or as a cookie, which ``/?token=`` sets."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        """Let a request pass, or raise AuthenticationError."""
        kind, _, given = conn.headers.get("authorization", "").partition(" ")
        if not self._is_token(given.strip() if kind.lower() == "bearer" else conn.cookies.get(COOKIE, "")):
            raise AuthenticationError
        return AuthCredentials(), SimpleUser("visitor")

    def refuse(self, conn: HTTPConnection, _: Exception) -> Response:
        """Answer a request without the token; one in the address becomes a cookie, not to stand in the history."""
        if conn.scope.get("method") == "GET" and self._is_token(conn.query_params.get("token", "")):
            welcome = RedirectResponse(conn.url.path, 303)
            welcome.set_cookie(COOKIE, self.token, httponly=True, samesite="lax")
            return welcome
        text = "no token, or a wrong one; open /?token=TOKEN, or send Authorization: Bearer TOKEN"
        return JSONResponse({"error": text}, 401)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


class BodyLimits:
    """Refuses bodies that are too large or too slow. Starlette's own limit knows no time, and answers in plain text."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self.app, self.max_bytes, self.timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI does."""
        end_s, received = time.monotonic() + self.timeout_s, 0
        is_complete = scope.get("method", "GET") == "GET"  # which has no body; "lifespan" has no method

        async def limited() -> Message:
            nonlocal received, is_complete
            try:
                left_s = None if is_complete else max(end_s - time.monotonic(), 0)
                message = await asyncio.wait_for(receive(), left_s)
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the file was not sent in {self.timeout_s:g} s; send a smaller one") from None
            received += len(message.get("body", b""))
            is_complete = is_complete or not message.get("more_body", False)
            if received > self.max_bytes + FORM_BYTES:
                raise too_large(self.max_bytes)
            return message

        await self.app(scope, limited, send)
