"""Draw docs/architecture.svg and the map of files in docs/architecture.md, from src/gateshift as it is now.

    python docs/draw_architecture.py

A *room* is a folder of modules; a module that lies directly in ``gateshift`` is a room of its own. One room points at
another if a module of it imports one of the other, at any place: in a function and for type checkers too. Of these
arrows the picture leaves out those that say what a path of others says already, and the few imports of ``LATE``.
"""

from __future__ import annotations

import ast
import html
import re
import statistics
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "gateshift"
MAP_START, MAP_END = "<!-- map: made by make architecture -->", "<!-- end of map -->"

Graph = Mapping[str, set[str]]

# Imports upwards, each inside of the one function that needs it, and not in the picture: users look among a model's own
# methods for what they do with it, and these only call what is above.
LATE = {
    ("gateshift.model.clip_classifier", "gateshift.data.clips.dataset"): "transform() reads the test's clip and crop",
    ("gateshift.model.clip_classifier", "gateshift.data.clips.views"): "transform() reads the test's clip and crop",
    ("gateshift.model.clip_classifier", "gateshift.prediction.inputs"): "transform() takes frames as predict() does",
    ("gateshift.model.clip_classifier", "gateshift.prediction.predict"): "predict() classifies videos",
    ("gateshift.model.classifier", "gateshift.published.hub"): "push_to_hub() puts a model on the Hub",
    ("gateshift.model.io", "gateshift.published.hub"): "load_model() fetches hf:// from the Hub",
}

HOMES = ("data", "model")  # the two that everything else is built on
COLORS = {"data": ("#e6f4ea", "#2e7d32"), "model": ("#e8eefc", "#3f51b5")}  # of the frame, and of lines
WIDTH, MARGIN, GAP = 1180, 20, 18
BOX_WIDTH, BOX_HEIGHT, PASS_WIDTH = 130.0, 44.0, 24.0
ROW, HOME_ROW = 104.0, 82.0  # from one row of boxes to the next
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" font-family="sans-serif">
<title>Which packages of gateshift import which</title>
<style>
.name {{ font-size: 15px; font-weight: bold; text-anchor: middle }}
.note {{ font-size: 11px; fill: #555; text-anchor: middle }}
path {{ fill: none; stroke: #888; stroke-width: 1.4; marker-end: url(#tip) }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto">
<polygon points="0,0 8,4 0,8" fill="#888"/></marker></defs>
<rect width="{width}" height="{height:g}" fill="#ffffff"/>
{body}
</svg>
"""


def read_modules(source: Path = SOURCE) -> dict[str, Path]:
    """Every module of the package, by its name."""
    modules = {}
    for path in sorted((source / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = path
    return modules


def read_imports(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """The modules that each module imports, in functions and for type checkers too."""
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = name.split(".")[: len(name.split(".")) - node.level + (path.name == "__init__.py")]
                    base = ".".join([*parts, *base.split(".")]).strip(".")
                # A name of a module, or a module of a package.
                found.update(f"{base}.{each.name}" if f"{base}.{each.name}" in modules else base for each in node.names)
        imports[name] = {other for other in found & modules.keys() if other != name and (name, other) not in LATE}
    return imports


def room_of(module: str, modules: Mapping[str, Path]) -> str:
    """The folder that a module lies in, within the package; of a module directly in the package its own name."""
    folder = modules[module].parent.relative_to(SOURCE / PACKAGE)
    return ".".join(folder.parts) or modules[module].stem


def merge(imports: Graph, group: Mapping[str, str]) -> dict[str, set[str]]:
    """Which groups of modules import which others."""
    merged: dict[str, set[str]] = {each: set() for each in group.values()}
    for name, found in imports.items():
        merged[group[name]].update(group[each] for each in found if group[each] != group[name])
    return merged


def find_circle(graph: Graph) -> list[str]:
    """Nodes that import each other in a circle, in order; empty if there is none."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for other in sorted(graph[node]):
            if circle := visit(other, [*path, node]):
                return circle
        finished.add(node)
        return []

    return next((circle for node in sorted(graph) if (circle := visit(node, []))), [])


def reachable(graph: Graph, node: str) -> set[str]:
    """All that a node imports, and what that imports in turn, in a graph without circles."""
    found: set[str] = set()
    for other in graph[node]:
        found |= {other} | reachable(graph, other)
    return found


def reduce(graph: Graph) -> dict[str, set[str]]:
    """A graph without the arrows that a longer path replaces."""
    return {
        node: {other for other in others if not any(other in reachable(graph, via) for via in others - {other})}
        for node, others in graph.items()
    }


def heights(graph: Graph, ground: Collection[str] = ()) -> dict[str, int]:
    """How high each node stands: one above the highest of those that it imports; with a ground, above that."""
    found: dict[str, int] = {}

    def height(node: str) -> int:
        if node not in found:
            found[node] = max(
                (1 + height(other) for other in graph[node]), default=int(bool(ground) and node not in ground)
            )
        return found[node]

    return {node: height(node) for node in sorted(graph)}


Box = tuple[float, float, float, float]  # left, top, width, height


class Layout(NamedTuple):
    """Where boxes stand, and the places between them where long arrows pass.

    Attributes:
        boxes: Of each node.
        passes: For an arrow over several rows, the middle x and the y of each place between its ends.
        bottom: Where the last row ends.
    """

    boxes: dict[str, Box]
    passes: dict[tuple[str, str], list[tuple[float, float]]]
    bottom: float


def lay_out(
    graph: Graph, left: float, top: float, width: float, step: float, *, ground: Collection[str] = ()
) -> Layout:
    """Put the nodes of a graph in rows, each below all that import it, with room for the arrows between them."""
    level = heights(graph, ground)
    last = max(level.values())
    users: dict[str, list[str]] = {}  # of nodes, and of the places where long arrows pass
    rows: list[list[str]] = [[] for _ in range(last + 1)]
    for node in sorted(graph):
        rows[last - level[node]].append(node)
        above = {other: [*users.get(other, []), node] for other in graph[node] if level[node] - level[other] == 1}
        users.update(above)
    chains: dict[tuple[str, str], list[str]] = {}
    for node, others in sorted(graph.items()):
        for other in sorted(others):
            chain = [f"{node} > {other} {number}" for number in range(level[other] + 1, level[node])][::-1]
            for place, (upper, each) in enumerate(pairwise([node, *chain])):
                rows[last - level[node] + place + 1].append(each)
                users[each] = [upper]
            if chain:
                users.setdefault(other, []).append(chain[-1])
                chains[node, other] = chain
    middles: dict[str, float] = {}
    box_width = min(BOX_WIDTH, width / max(len([each for each in row if each in graph]) for row in rows) - GAP)
    for row in rows:

        def wish(node: str) -> tuple[float, str]:
            """Below those that import it, so that few arrows cross."""
            return statistics.fmean([middles[user] for user in users.get(node, [])] or [left + width / 2]), node

        row.sort(key=wish)
        sizes = [box_width + GAP if each in graph else PASS_WIDTH for each in row]
        spare = (width - sum(sizes)) / len(row)
        x = left
        for each, size in zip(row, sizes, strict=True):
            middles[each] = round(x + (size + spare) / 2, 1)
            x += size + spare
    tops = {each: round(top + number * step, 1) for number, row in enumerate(rows) for each in row}
    boxes = {
        node: (round(middles[node] - box_width / 2, 1), tops[node], round(box_width, 1), BOX_HEIGHT) for node in graph
    }
    passes = {ends: [(middles[each], tops[each] + BOX_HEIGHT / 2) for each in chain] for ends, chain in chains.items()}
    return Layout(boxes, passes, top + last * step + BOX_HEIGHT)


def draw_box(name: str, box: Box, files: list[str], color: str, fill: str = "#ffffff") -> str:
    """A box with its name and the number of its files, which are shown where the mouse rests."""
    left, top, width, height = box
    middle = left + width / 2
    note = f"{len(files)} file{'s' if len(files) > 1 else ''}"
    return (
        f"<g><title>{html.escape(chr(10).join(dict.fromkeys(files)))}</title>"
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{color}"/>'
        f'<text x="{middle:g}" y="{top + 20:g}" class="name">{html.escape(name)}</text>'
        f'<text x="{middle:g}" y="{top + 35:g}" class="note">{note}</text></g>'
    )


def draw_arrows(graph: Graph, layout: Layout) -> list[str]:
    """From the lower edge of each box to the upper edges of those that it imports."""
    drawn = []
    for node, others in sorted(graph.items()):
        goals = {other: (layout.passes.get((node, other)) or [layout.boxes[other][:2]])[0][0] for other in others}
        # Side by side along the lower edge, in the order of where they go.
        ends = sorted(sorted(others), key=goals.__getitem__)
        for place, other in enumerate(ends):
            left, top, width, height = layout.boxes[node]
            to_left, to_top, to_width, _ = layout.boxes[other]
            start = (left + width * (place + 1) / (len(ends) + 1), top + height)
            end_x = min(max(layout.passes.get((node, other), [start])[-1][0], to_left + 15), to_left + to_width - 15)
            points = [start, *layout.passes.get((node, other), []), (end_x, to_top - 4)]
            path = f"M{start[0]:.1f} {start[1]:g}"
            for (x, y), (next_x, next_y) in pairwise(points):
                path += f"C{x:.1f} {(y + next_y) / 2:g} {next_x:.1f} {(y + next_y) / 2:g} {next_x:.1f} {next_y:g}"
            drawn.append(f'<path d="{path}"><title>{node} imports {other}</title></path>')
    return drawn


def draw(modules: Mapping[str, Path], imports: Graph) -> str:
    """The picture: the packages for what users do above, the rooms of data and model below."""
    rooms = merge(imports, {name: room_of(name, modules) for name in modules})
    files: dict[str, list[str]] = {}
    for name, path in modules.items():
        if path.name != "__init__.py":
            files.setdefault(room_of(name, modules), []).append(path.name)
    packages = merge(rooms, {room: room.split(".")[0] for room in rooms})
    folders = {name for name in packages if (SOURCE / PACKAGE / name).is_dir()}
    upper = reduce({name: packages[name] & folders for name in folders})
    layout = lay_out(upper, MARGIN, MARGIN, WIDTH - 2 * MARGIN, ROW, ground=HOMES)
    frame_top = layout.boxes[HOMES[0]][1]
    frame_width = (WIDTH - 2 * MARGIN - GAP) / 2
    boxes: list[str] = []
    for name in sorted(folders - set(HOMES)):
        parts = [room for room in files if room.split(".")[0] == name]
        listed = sorted(f"{room.replace('.', '/')}/{each}" for room in parts for each in files[room])
        boxes.append(draw_box(f"{name}/", layout.boxes[name], listed, "#616161"))
    frames, arrows, bottoms = [], [], []
    for number, home in enumerate(HOMES):
        left = MARGIN + number * (frame_width + GAP)
        layout.boxes[home] = (left, frame_top, frame_width, 0)
        own = {room for room in rooms if room.split(".")[0] == home and files.get(room)}
        inner = reduce({room: rooms[room] & own for room in own})
        inside = lay_out(inner, left + GAP, frame_top + 56, frame_width - 2 * GAP, HOME_ROW)
        bottoms.append(inside.bottom + GAP)
        arrows += draw_arrows(inner, inside)
        for room in sorted(own):
            label = f"{room.removeprefix(f'{home}.')}/" if room != home else f"{home}/*.py"
            boxes.append(draw_box(label, inside.boxes[room], sorted(files[room]), COLORS[home][1]))
    for home in HOMES:
        frame = (*layout.boxes[home][:3], max(bottoms) - frame_top)
        count = sum(len(each) for room, each in files.items() if room.split(".")[0] == home)
        frames.append(draw_box(f"{home}/", frame, [home] * count, COLORS[home][1], COLORS[home][0]))
    arrows += draw_arrows(upper, layout)
    return SVG.format(width=WIDTH, height=max(bottoms) + MARGIN, body="\n".join([*frames, *arrows, *boxes]))


def write_map(modules: Mapping[str, Path]) -> str:
    """A table for each room: its modules, and the first sentence of their docstrings."""
    rooms: dict[str, list[tuple[str, str]]] = {}
    for name, path in modules.items():
        text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if path.name == "__init__.py" and name != PACKAGE:
            continue
        folder = path.parent.relative_to(SOURCE).as_posix()
        first = " ".join((text or "").split("\n\n")[0].split()).removesuffix(".")
        rooms.setdefault(folder, []).append((path.name, re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first).replace("``", "`")))
    lines: list[str] = []
    for folder, files in sorted(rooms.items()):
        lines += [f"### `{folder}/`", "", "| file | what it is |", "| --- | --- |"]
        lines += [f"| `{name}` | {first.replace('|', chr(92) + '|')} |" for name, first in sorted(files)]
        lines.append("")
    return "\n".join(lines)


def fill_page(page: str, modules: Mapping[str, Path]) -> str:
    """The page with the map of now in it."""
    before, _, rest = page.partition(MAP_START)
    _, _, after = rest.partition(MAP_END)
    return f"{before}{MAP_START}\n\n{write_map(modules)}\n{MAP_END}{after}"


def main() -> None:
    modules = read_modules()
    imports = read_imports(modules)
    circle = find_circle(merge(imports, {name: room_of(name, modules) for name in modules}))
    if circle:
        raise SystemExit(
            f"rooms import each other in a circle: {' -> '.join(circle)}; tests/test_architecture.py says where"
        )
    PICTURE.write_text(draw(modules, imports), "utf-8")
    PAGE.write_text(fill_page(PAGE.read_text("utf-8"), modules), "utf-8")


if __name__ == "__main__":
    main()
