"""Pages of HTML that need no other file: the one engine that fills their templates, and the page of plain sections."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

MIME_TYPES = {".png": "image/png", ".gif": "image/gif"}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        texts: Paragraphs.
        files: Pictures that were written, put into the page.
        columns: Names of the columns of a table.
        rows: Its rows; without any there is no table.
    """

    title: str
    texts: Sequence[str] = ()
    files: Sequence[Path] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def render_page(title: str, sections: Sequence[Section]) -> str:
    """The page of these sections."""
    return render_template("drawing/templates/sections.html.jinja", title=title, sections=sections)


def render_template(template: str, **values: object) -> str:
    """A template of this package as HTML. Names and texts are shown as they are, whatever characters they have.

    Args:
        template: Its path in the package.
        values: What it is filled with.
    """
    environment = Environment(
        loader=PackageLoader("gateshift", ""),
        autoescape=True,  # names of classes and videos are other people's text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": _embedded, "percent": _percent}
    return environment.get_template(template).render(values)


def data_address(kind: str, content: bytes) -> str:
    """An address that is itself what it leads to, such as an "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _embedded(path: Path) -> str:
    return data_address(MIME_TYPES[path.suffix], path.read_bytes())


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
