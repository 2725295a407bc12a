"""Compare fresh results with the committed ones: python benchmarks/accuracy/compare.py FRESH.csv COMMITTED.csv

For each row and test of FRESH, each of its seeds must lie where the committed seeds lie: from their least to their
largest figure, and as far again to both sides, but at least 3 points. The exit code is 1 if one does not, or if
nothing was compared.
"""

import sys
from collections import defaultdict
from pathlib import Path

from results import read_lines

LEAST_MARGIN = 0.03  # of a few hundred test clips, a standard error of chance alone
Figures = dict[tuple[str, str], list[float]]


def read_figures(file: Path) -> Figures:
    """Accuracies of all seeds by row and test: within pairs where there are pairs, else top-1."""
    figures: Figures = defaultdict(list)
    for line in read_lines(file):
        figures[line["row"], line["test"]].append(float(line["within_pairs"] or line["top1"]))
    return dict(figures)


def accepted(committed: list[float]) -> tuple[float, float]:
    """The least and the largest figure that agree with the committed ones."""
    least, largest = min(committed), max(committed)
    margin = max(largest - least, LEAST_MARGIN)
    return least - margin, largest + margin


def compare(fresh: Figures, committed: Figures) -> list[str]:
    """One line for each row and test that was run anew; those that do not agree begin with "no"."""
    lines = []
    for key, figures in fresh.items():
        name = f"{key[0]} on {key[1]}: {', '.join(f'{figure:.1%}' for figure in figures)}"
        if key not in committed:
            lines.append(f"no: {name}; no figure of it is committed")
            continue
        low, high = accepted(committed[key])
        agrees = all(low <= figure <= high for figure in figures)
        lines.append(f"{'yes' if agrees else 'no'}: {name}; accepted is {low:.1%} to {high:.1%}")
    return lines


def main(fresh: Path, committed: Path) -> int:
    """Print the lines; the exit code."""
    lines = compare(read_figures(fresh), read_figures(committed))
    print("\n".join(lines) or f"{fresh}: no results; fill the table first")
    return int(not lines or any(line.startswith("no:") for line in lines))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
