"""A table of results as a file: which lists, which rows, which seeds; see the files in tables/."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One row of a table, for every seed.

    Attributes:
        name: Of the row, and of the folders of its runs.
        words: Options of ``gateshift train``, after those of all rows, of which the last counts.
        test: Options of ``gateshift test``, likewise.
        train: Another list to learn from.
        model: A row above whose networks are tested here; nothing is trained then.
        parts: Rows above whose scores are averaged; nothing is trained nor tested then.
    """

    name: str
    words: str = ""
    test: str = ""
    train: str | None = None
    model: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """All of a table. Its texts have ``{data}``, ``{runs}``, ``{paths}``, ``{clips}``, ``{here}``, ``{seed}`` in them.

    Attributes:
        name: Of its file.
        title: What it shows.
        make: Commands that make the data, each run if the file in front of its "<-" is not there.
        train: List to learn from.
        val: List that is validated on while training, which changes no weight.
        tests: Lists to test on, by name.
        words: Options of ``gateshift train`` for every row.
        test: Options of ``gateshift test`` for every row.
        seeds: Of the trainings.
        rows: Its rows.
    """

    name: str
    title: str
    make: tuple[str, ...]
    train: str
    val: str
    tests: Mapping[str, str]
    words: str
    rows: tuple[Row, ...]
    test: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    places: Mapping[str, str] = field(default_factory=dict)

    def fill(self, text: str, **more: object) -> str:
        """Put what they stand for in place of the names in braces."""
        return text.format(**{"here": HERE, **self.places, **more})

    def words_of(self, text: str, **more: object) -> list[str]:
        """Words of a command line: a place may have blanks in it."""
        return [self.fill(word, **more) for word in shlex.split(text)]

    def row(self, name: str) -> Row:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)


def read_table(name: str, places: Mapping[str, str]) -> Table:
    """Read tables/NAME.toml.

    Raises:
        SystemExit: If there is none, or something in it is not what a table holds.
    """
    file = HERE / "tables" / f"{name}.toml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.toml")))
        raise SystemExit(f"{name}: no such table; there are {known}; give one of them")
    content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    try:
        rows = tuple(Row(**{**row, "parts": tuple(row.get("parts", ()))}) for row in content.pop("rows"))
        content |= {key: tuple(content[key]) for key in ("make", "seeds") if key in content}
        table = Table(name=name, rows=rows, places=places, **content)
    except (TypeError, KeyError) as error:
        raise SystemExit(f"{file}: {error}; correct the file") from None
    _check_rows(file, table)
    return table


def _check_rows(file: Path, table: Table) -> None:
    """Rows have different names, and name only those above."""
    above: set[str] = set()
    for row in table.rows:
        wrong = [name for name in (*row.parts, *filter(None, [row.model])) if name not in above]
        if row.name in above or wrong:
            fault = f"needs {wrong[0]}, which is not above it" if wrong else "is there twice"
            raise SystemExit(f"{file}: row {row.name} {fault}; correct the file")
        above.add(row.name)


def narrow(table: Table, *, rows: list[str], seeds: list[int]) -> Table:
    """The table with some rows and seeds alone, and the rows that these need."""
    unknown = [name for name in rows if name not in {row.name for row in table.rows}]
    if unknown:
        raise SystemExit(f"{unknown[0]}: no row of {table.name}; there are {', '.join(r.name for r in table.rows)}")
    wanted = set(rows) or {row.name for row in table.rows}
    for row in reversed(table.rows):
        if row.name in wanted:
            wanted |= {*row.parts, *filter(None, [row.model])}
    kept = tuple(row for row in table.rows if row.name in wanted)
    return dataclasses.replace(table, rows=kept, seeds=tuple(seeds) or table.seeds)
