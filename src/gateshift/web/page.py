"""The page: a video in, classes, timeline and gate maps out."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from gateshift.data.video.files import find_videos
from gateshift.drawing.html_page import data_address
from gateshift.errors import VideoError
from gateshift.explanation.drawings import draw_evidence, draw_gates
from gateshift.explanation.gate_maps import most_varied
from gateshift.explanation.output import GATES_TEXT, Explanation
from gateshift.web.scoring import BusyError, Scorer

KEPT_S = 600  # how long the browser can play what was uploaded
MAX_EXAMPLES = 12
MAX_LAYERS = 4  # whose gates are drawn
FONTS = ["system-ui", "sans-serif"]  # the usual ones come from another server
# The scissors take their program from another server.
CSS = """
button[aria-label="Trim video to selection"] { display: none; }
.gateshift-message { border-left: 4px solid #c33; padding: .5rem .8rem; }
.gateshift-picture { overflow-x: auto; background: #fff; }
.gateshift-picture img { width: 100%; min-width: 900px; }
"""


def mount_page(app: FastAPI, scorer: Scorer) -> None:
    """Put the page at the root of a server, below its other routes."""
    gr.mount_gradio_app(
        app,
        build_page(scorer),
        path="/",
        max_file_size=scorer.settings.max_bytes,
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
    settings, config = scorer.settings, scorer.model.config
    with gr.Blocks(title="gateshift", analytics_enabled=False, delete_cache=(60, KEPT_S)) as page:
        gr.Markdown(
            f"# gateshift\n{len(config.classes)} classes, {scorer.how}. Videos of at most "
            f"{settings.max_duration:g} s, {settings.max_mb:g} MB and {settings.max_side} pixels a side."
        )
        with gr.Row():
            with gr.Column(min_width=320):
                # A mirrored recording would swap left and right; to take sound away, Gradio needs a program, ffmpeg.
                video = gr.Video(label="Video", webcam_options=gr.WebcamOptions(mirror=False), include_audio=True)
                found = find_videos(settings.examples) if settings.examples is not None else []
                if examples := [path for path in found if path.is_file()][:MAX_EXAMPLES]:
                    names = [path.stem for path in examples]
                    gr.Examples([[str(path)] for path in examples], video, example_labels=names, cache_examples=False)
            with gr.Column(min_width=320):
                message = gr.HTML(visible=False)
                classes = gr.Label(label="Likeliest classes", num_top_classes=5)
                timeline = gr.HighlightedText(label="Timeline", elem_id="timeline")
        maps = gr.HTML(visible=False)

        def show(path: str | None) -> tuple[Any, ...]:
            hidden = gr.HTML("", visible=False)
            if path is None:
                return hidden, None, None, hidden
            try:
                answer, explanation = scorer.answer(Path(path), timeline=True, explain=True)
            except (VideoError, BusyError) as error:
                text = f'<div class="gateshift-message" role="alert">{escape(str(error))}</div>'
                return gr.HTML(text, visible=True), None, None, hidden
            top = {each.class_name: each.probability for each in answer.top}
            events = [
                *(
                    (f"{each.start_s:.1f}–{each.end_s:.1f} s ({each.score:.0%})", each.label)
                    for each in answer.timeline or ()
                ),
                *((f"{each.time_s:.2f} s ({each.score:.0%})", each.label) for each in answer.events or ()),
            ]
            nothing = [(f"No class reaches a probability of 0.5 in {answer.duration_s:.1f} s.", None)]
            pictures = "" if explanation is None else render_maps(explanation)
            return hidden, top, events or nothing, gr.HTML(pictures, visible=True)

        shown = [message, classes, timeline, maps]
        video.change(show, video, shown, api_visibility="private", concurrency_limit=settings.decoders)
    return page.queue(max_size=settings.decoders + settings.queue)


def render_maps(found: Explanation) -> str:
    """Evidence and gate maps as pictures within the page: no file is left."""
    title = f"Evidence for {escape(found.class_name)}"
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        draw_evidence(found.clip, found.evidence, picture, title="", numbers=found.numbers)
        text = f"<h3>{title}</h3>{_embed(picture, 'evidence')}<h3>Gates</h3>"
        if not found.gates:
            return f"{text}<p>This model has no gates: it shifts nothing, or a fixed share.</p>"
        shown = most_varied(found.gates, MAX_LAYERS)
        draw_gates(found.clip, shown, picture, title="", directions=found.directions, numbers=found.numbers)
        which = "" if len(shown) == len(found.gates) else f"Of {len(found.gates)} layers, those that vary most. "
        return f"{text}<p>{which}{GATES_TEXT}</p>{_embed(picture, 'gate maps')}"


def _embed(picture: Path, what: str) -> str:
    address = data_address("image/png", picture.read_bytes())
    return f'<div class="gateshift-picture"><img alt="{what}" src="{address}"></div>'
