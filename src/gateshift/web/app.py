"""The server: JSON over HTTP, and the page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from gateshift.errors import VideoError
from gateshift.version import __version__
from gateshift.web.guard import Guard
from gateshift.web.interface import mount_page
from gateshift.web.scoring import BusyError, Scorer

UPLOAD_NAME = "upload"  # without a suffix: what a file is, its content says


class ClassProbability(BaseModel):
    """A class and how likely it is."""

    class_name: str = Field(serialization_alias="class")
    probability: float = Field(ge=0, le=1)


class TimelineSegment(BaseModel):
    """A stretch of the video in which one class happens."""

    start_s: float
    end_s: float
    label: str
    score: float = Field(ge=0, le=1, description="Mean probability of the class in it.")


class PredictionRecord(BaseModel):
    """What the model says of a video."""

    top: list[ClassProbability] = Field(description="The likeliest classes, likeliest first.")
    labels: list[str] | None = Field(
        description="Of a model of several labels a video, the classes likelier than not; null of any other."
    )
    num_frames: int
    duration_s: float
    timeline: list[TimelineSegment] | None = Field(description="What happens when; null unless asked for.")


class LimitsRecord(BaseModel):
    """What one request may take."""

    max_mb: float
    max_duration_s: float
    max_side_px: int
    timeout_s: float


class ModelRecord(BaseModel):
    """The model that answers."""

    name: str
    classes: list[str]
    protocol: str = Field(description="Frames of a clip, clips, and crops of each video.")
    backbone: str
    temporal: str
    version: str = Field(description="Of gateshift.")
    limits: LimitsRecord


class ErrorBody(BaseModel):
    """Why there is no answer, in one line."""

    error: str


_PROBLEMS: Mapping[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "No token, or a wrong one."},
    408: {"model": ErrorBody, "description": "The file was sent too slowly."},
    413: {"model": ErrorBody, "description": "The file is too large."},
    422: {"model": ErrorBody, "description": "No file, not a video, or a video beyond the limits."},
    503: {"model": ErrorBody, "description": "Too many requests wait; try again later."},
}


def create_app(scorer: Scorer, folder: Path, *, token: str | None) -> FastAPI:
    """The server of a model.

    Args:
        scorer: Who answers.
        folder: For uploads, while they are looked at.
        token: Known to who may ask; None lets everyone in.
    """
    limits = scorer.settings.limits
    # The usual pages at /docs take their scripts from another server.
    app = FastAPI(title="gateshift", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, max_bytes=limits.max_bytes, timeout_s=limits.timeout, token=token)
    _add_error_answers(app)

    @app.get("/api/model")
    def describe_model() -> ModelRecord:
        """Classes, test protocol and limits."""
        config = scorer.model.config
        return ModelRecord(
            name=scorer.settings.model.name,
            classes=list(config.classes),
            protocol=str(scorer.protocol),
            backbone=config.backbone,
            temporal=config.temporal,
            version=__version__,
            limits=LimitsRecord(
                max_mb=limits.max_mb,
                max_duration_s=limits.max_duration,
                max_side_px=limits.max_side,
                timeout_s=limits.timeout,
            ),
        )

    # Not async: it waits for decoding in a thread, and other requests go on.
    @app.post("/api/predict", responses=dict(_PROBLEMS))
    def predict_upload(
        file: Annotated[UploadFile, File(description="A video file.")],
        top: Annotated[int, Query(ge=1, description="How many classes to name.")] = 5,
        timeline: Annotated[bool, Query(description="Whether to say what happens when.")] = False,
    ) -> PredictionRecord:
        """Say what happens in a video."""
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / UPLOAD_NAME  # nothing of what the client calls it
            with path.open("wb") as written:
                shutil.copyfileobj(file.file, written)
            if path.stat().st_size > limits.max_bytes:
                raise HTTPException(413, f"the file has more than {limits.max_mb:g} MB; send a smaller one")
            answer = scorer.answer(path, top=top, timeline=timeline)
        segments = None if answer.timeline is None else [TimelineSegment(**vars(part)) for part in answer.timeline]
        return PredictionRecord(
            top=[ClassProbability(class_name=name, probability=probability) for name, probability in answer.top],
            labels=None if answer.labels is None else list(answer.labels),
            num_frames=answer.num_frames,
            duration_s=answer.duration_s,
            timeline=segments,
        )

    mount_page(app, scorer)
    return app


def _add_error_answers(app: FastAPI) -> None:
    """Whatever is wrong with a request, the answer is one line under ``error``."""

    @app.exception_handler(VideoError)
    def answer_bad_video(_: Request, error: VideoError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(BusyError)
    def answer_busy(_: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503, {"Retry-After": "10"})

    @app.exception_handler(RequestValidationError)
    def answer_bad_request(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return JSONResponse({"error": f"{wrong}; /openapi.json says what is accepted"}, 422)

    @app.exception_handler(HTTPException)
    def answer_refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
