"""The page: a video in, classes, timeline and gate maps out."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from gateshift.data.video.files import find_videos
from gateshift.errors import VideoError
from gateshift.explanation.drawings import draw_evidence, draw_gates
from gateshift.explanation.gate_maps import most_varied
from gateshift.explanation.output import GATES_TEXT, Explanation
from gateshift.prediction.timeline import Event
from gateshift.web.scoring import BusyError, Scorer, UploadAnswer

KEPT_S = 600  # how long the browser can play what was uploaded
MAX_EXAMPLES = 12
MAX_LAYERS = 4  # whose gates are drawn
FONTS = ["system-ui", "sans-serif"]  # the usual ones come from another server
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")

# The scissors take their program from another server.
CSS = """
button[aria-label="Trim video to selection"] { display: none; }
.gateshift-message { border-left: 4px solid #c33; padding: .5rem .8rem; }
.gateshift-strip { position: relative; height: 1.4rem; background: #8883; border-radius: 4px; overflow: hidden; }
.gateshift-strip span { position: absolute; }
.gateshift-table { width: 100%; border-collapse: collapse; margin-top: .5rem; }
.gateshift-table :is(tr, th, td) { border: 0 !important; text-align: left; padding: .15rem .6rem .15rem 0 !important; }
.gateshift-table i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.gateshift-picture { overflow-x: auto; background: #fff; }
.gateshift-picture img { width: 100%; min-width: 900px; }
"""


def mount_page(app: FastAPI, scorer: Scorer) -> None:
    """Put the page at the root of a server, below its other routes."""
    gr.mount_gradio_app(
        app,
        build_page(scorer),
        path="/",
        max_file_size=scorer.settings.limits.max_bytes,
        theme=gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"]),
        css=CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
    )


def build_page(scorer: Scorer) -> gr.Blocks:
    """The page of a model."""
    limits, config = scorer.settings.limits, scorer.model.config
    with gr.Blocks(title="gateshift", analytics_enabled=False, delete_cache=(60, KEPT_S)) as page:
        gr.Markdown(
            f"# gateshift\n{len(config.classes)} classes, {scorer.protocol}. Videos of at most "
            f"{limits.max_duration:g} s, {limits.max_mb:g} MB and {limits.max_side} pixels a side."
        )
        with gr.Row():
            with gr.Column(min_width=320):
                # A mirrored recording would swap left and right; to take sound away, Gradio needs a program, ffmpeg.
                video = gr.Video(label="Video", webcam_options=gr.WebcamOptions(mirror=False), include_audio=True)
                _add_examples(scorer, video)
            with gr.Column(min_width=320):
                message = gr.HTML(visible=False)
                classes = gr.Label(label="Likeliest classes", num_top_classes=5)
                timeline = gr.HTML(label="Timeline", show_label=True, container=True, padding=True)
        with gr.Row():
            maps = gr.HTML(visible=False)
        video.change(
            _look_at(scorer),
            video,
            [message, classes, timeline, maps],
            api_visibility="private",
            concurrency_limit=limits.decoders,
        )
    page.queue(max_size=limits.decoders + limits.queue)
    return page


def _add_examples(scorer: Scorer, video: gr.Video) -> None:
    folder = scorer.settings.examples
    found = [] if folder is None else [path for path in find_videos(folder) if path.is_file()][:MAX_EXAMPLES]
    if found:
        names = [path.stem for path in found]
        gr.Examples([[str(path)] for path in found], video, example_labels=names, cache_examples=False)


def _look_at(scorer: Scorer) -> Callable[[str | None], tuple[Any, ...]]:
    """What happens when the page has another video."""

    def look(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return _shown()
        try:
            answer = scorer.answer(Path(path), timeline=True, explain=True)
        except (VideoError, BusyError) as error:
            return _shown(error=str(error))
        return _shown(answer)

    return look


def _shown(answer: UploadAnswer | None = None, *, error: str = "") -> tuple[Any, ...]:
    """What each part of the page shows."""
    text = f'<div class="gateshift-message" role="alert">{escape(error)}</div>'
    message = gr.HTML(text, visible=bool(error))
    if answer is None:
        return message, None, "", gr.HTML("", visible=False)
    maps = "" if answer.explanation is None else render_maps(answer.explanation)
    return message, dict(answer.top), render_timeline(answer), gr.HTML(maps, visible=bool(maps))


def render_timeline(answer: UploadAnswer) -> str:
    """What happens when, as a strip and as a table."""
    length = f"{answer.num_frames} frames, {answer.duration_s:.1f} s"
    if not answer.timeline:
        return f"<p>{length}. No class reaches a probability of 0.5 in any window.</p>"
    colours = _colours(answer.timeline)
    lanes = {label: place for place, label in enumerate(colours)} if _overlap(answer.timeline) else {}
    height = 100 / max(len(lanes), 1)
    strip = "".join(
        f'<span style="left:{100 * part.start_s / answer.duration_s:.2f}%;'
        f"width:{100 * (part.end_s - part.start_s) / answer.duration_s:.2f}%;"
        f"top:{height * lanes.get(part.label, 0):.2f}%;height:{height:.2f}%;"
        f'background:{colours[part.label]}" title="{escape(part.label)}"></span>'
        for part in answer.timeline
        if answer.duration_s
    )
    rows = "".join(
        f'<tr><td><i style="background:{colours[part.label]}"></i>{escape(part.label)}</td>'
        f"<td>{part.start_s:.1f}–{part.end_s:.1f} s</td><td>{part.score:.2f}</td></tr>"
        for part in answer.timeline
    )
    return (
        f'<p>{length}</p><div class="gateshift-strip">{strip}</div><table class="gateshift-table">'
        f"<tr><th>class</th><th>time</th><th>probability</th></tr>{rows}</table>"
    )


def _overlap(timeline: Sequence[Event]) -> bool:
    """Whether something begins before something else has ended, as segments of several labels a video can."""
    return any(later.start_s < earlier.end_s for earlier, later in pairwise(timeline))


def _colours(timeline: Sequence[Event]) -> dict[str, str]:
    labels = dict.fromkeys(part.label for part in timeline)
    return {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)}


def render_maps(found: Explanation) -> str:
    """Gate maps and the evidence for the likeliest class as pictures within the page: no file is left."""
    with tempfile.TemporaryDirectory() as place:
        evidence, gates = Path(place) / "evidence.png", Path(place) / "gates.png"
        draw_evidence(found.clip, found.evidence, evidence, title="", numbers=found.numbers)
        text = f"<h3>Evidence for {escape(found.class_name)}</h3>{_picture(evidence, 'evidence')}<h3>Gates</h3>"
        if not found.gates:
            return f"{text}<p>This model has no gates: it sends nothing, or a fixed share.</p>"
        shown = most_varied(found.gates, MAX_LAYERS)
        draw_gates(found.clip, shown, gates, title="", directions=found.directions, numbers=found.numbers)
        which = "" if len(shown) == len(found.gates) else f"Of {len(found.gates)} layers, those that vary most. "
        return f"{text}<p>{which}{GATES_TEXT}</p>{_picture(gates, 'gate maps')}"


def _picture(path: Path, what: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<div class="gateshift-picture"><img alt="{what}" src="data:image/png;base64,{data}"></div>'
