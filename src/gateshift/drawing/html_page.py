"""Pictures, texts and tables on one page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

MIME_TYPES = {".png": "image/png", ".gif": "image/gif"}

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #222; }
img { max-width: 100%; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% for text in section.texts %}<p>{{ text }}</p>
{% endfor %}
{% for picture in section.pictures %}
<img src="{{ picture }}" alt="{{ section.title }}">
{% endfor %}
{% if section.rows %}
<table>
<thead><tr>
{% for name in section.columns %}<th{% if not loop.first %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in section.rows %}<tr>
{% for cell in row %}<td{% if not loop.first %} class="number"{% endif %}>{{ cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


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
    """The page as HTML. Names and texts are shown as they are, whatever characters they have."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_TEMPLATE)
    shown = [{**vars(section), "pictures": [_embed(path) for path in section.files]} for section in sections]
    return template.render(title=title, sections=shown)


def _embed(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MIME_TYPES[path.suffix]};base64,{content}"
