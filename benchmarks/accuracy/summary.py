"""Sum up filled tables: python benchmarks/accuracy/summary.py [--results DIR]

For each TABLE.csv in DIR, TABLE.md gets a line for each row and test list, in the order of the table, with mean and
spread over the seeds, and TABLE.png a dot for each seed: the accuracy within pairs where every class is in one, else
top-1.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from results import read_lines
from tables import HERE, read_table

Lines = Sequence[dict[str, str]]
DOT = {"linestyle": "none", "marker": "o", "alpha": 0.7}
NOT_RESULTS = ("-confusions", "-curves")


def grouped(lines: Lines) -> dict[tuple[str, str], Lines]:
    """The lines of all seeds by test list and row, in the order in which they first come."""
    keys = list(dict.fromkeys((line["test"], line["row"]) for line in lines))
    return {key: [line for line in lines if (line["test"], line["row"]) == key] for key in keys}


def values(lines: Lines, column: str) -> list[float]:
    """The figures of a column that are there."""
    return [float(line[column]) for line in lines if line[column]]


def spread(found: Sequence[float], *, percent: bool = False) -> str:
    """Mean and standard deviation over the seeds; the mean alone of one."""
    if not found:
        return ""
    scaled = np.array(found) * (100 if percent else 1)
    return f"{scaled.mean():.1f} ± {scaled.std(ddof=1):.1f}" if len(found) > 1 else f"{scaled.mean():.1f}"


def table_text(title: str, lines: Lines) -> str:
    """A table in Markdown."""
    where = sorted({f"{line['cores']} cores of {line['cpu']}, {line['gpu'] or 'no GPU'}" for line in lines})
    text = [
        f"**{title}.** Mean ± standard deviation over the seeds. {'; '.join(where)}.",
        "",
        "| row | list | seeds | top-1 % | right | within pairs % | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (test, row), some in grouped(lines).items():
        right = f"{spread(values(some, 'right'))} of {some[0]['of']}"
        top1, pairs = (spread(values(some, column), percent=True) for column in ("top1", "within_pairs"))
        minutes = spread(values(some, "train_minutes"))
        text.append(f"| {row} | {test} | {len(some)} | {top1} | {right} | {pairs} | {minutes} |")
    return "\n".join(text) + "\n"


def draw(title: str, lines: Lines) -> Figure:
    """A dot for each seed, a bar at the mean, rows from top to bottom."""
    column = "within_pairs" if all(line["pair_clips"] == line["of"] for line in lines) else "top1"
    groups = {key: values(some, column) for key, some in grouped(lines).items() if values(some, column)}
    tests = {test for test, _ in groups}
    figure = Figure(figsize=(7, 1.2 + 0.3 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for place, found in enumerate(groups.values()):
        percent = 100 * np.array(found)
        axes.plot(percent, [place] * len(found), color="tab:blue", **DOT)
        axes.plot([percent.mean()] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1)
    axes.set_yticks(range(len(groups)), [row if len(tests) == 1 else f"{row}, {test}" for test, row in groups])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("accuracy within pairs, %" if column == "within_pairs" else "top-1, %")
    if column == "within_pairs":
        axes.axvline(50, color="tab:red", linewidth=1, linestyle="--", label="no order: 50 %")
        axes.legend()
    figure.suptitle(title, fontsize="medium", wrap=True)
    return figure


def main() -> None:
    """Write the tables and drawings of all results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args()
    for file in sorted(given.results.glob("*.csv")):
        if file.stem.endswith(NOT_RESULTS):
            continue
        table = read_table(file.stem, {})
        rows = [row.name for row in table.rows]
        lines = sorted(read_lines(file), key=lambda line: rows.index(line["row"]))
        file.with_suffix(".md").write_text(table_text(table.title, lines), encoding="utf-8")
        draw(table.title, lines).savefig(file.with_suffix(".png"), dpi=120)
        print(file.with_suffix(".md"))


if __name__ == "__main__":
    main()
