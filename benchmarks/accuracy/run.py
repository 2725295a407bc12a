"""Fill a table: train and test every row of it for every seed, and note each result at once.

    python benchmarks/accuracy/run.py TABLE [--data DIR] [--out DIR] [--rows NAME ...] [--seeds N ...] [--jobs 1]
    python benchmarks/accuracy/run.py TABLE --list            # the commands, none of which is run

TABLE is a file of tables/. Its data are made below --data where they are not there; tables of gestures and of real
footage also need --paths or --clips, see README.md. Results, confusions and curves are appended to TABLE.csv,
TABLE-confusions.csv and TABLE-curves.csv in --results. A row and seed that is there is skipped, and a training that was
stopped goes on, so the same command may be given again and again.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from results import (
    CONFUSIONS,
    CURVES,
    RESULTS,
    Line,
    append_lines,
    machine,
    measure,
    num_cores,
    pair_confusions,
    read_lines,
    read_pairs,
)
from tables import HERE, Row, Table, narrow, read_table

from gateshift.data.lists.manifest import REVERSAL_FILE
from gateshift.evaluation.scores import load_scores

GATESHIFT = [sys.executable, "-m", "gateshift"]
WRITING = Lock()


@dataclass(frozen=True)
class Place:
    """Where one row of one seed is worked on.

    Attributes:
        table: Its table.
        row: The row.
        seed: The seed.
        runs: Folder of all runs.
        results: Folder of the CSV files.
    """

    table: Table
    row: Row
    seed: int
    runs: Path
    results: Path

    def folder(self, row: str | None = None) -> Path:
        """Of this row, or another, at the same seed."""
        return self.runs / self.table.name / f"{row or self.row.name}-seed{self.seed}"

    def file(self, suffix: str = "") -> Path:
        """A CSV file of the table."""
        return self.results / f"{self.table.name}{suffix}.csv"

    @property
    def key(self) -> Line:
        """What a line of a CSV begins with."""
        return {"table": self.table.name, "row": self.row.name, "seed": self.seed}

    def train_words(self) -> list[str]:
        """The words after ``gateshift`` that train this row; none where a row above is tested."""
        if self.row.model or self.row.parts:
            return []
        lists = (self.row.train or self.table.train, self.table.val)
        options = self.table.words_of(f"{self.table.words} {self.row.words}", seed=self.seed)
        learned = [self.table.fill(name, seed=self.seed) for name in lists]
        return ["train", *learned, *options, "--seed", str(self.seed), "--out", str(self.folder())]

    def test_words(self, test: str) -> list[str]:
        """The words after ``gateshift`` that test this row on a list, or average other rows."""
        scores = ["--scores", str(self.scores(test)), "--overwrite"]
        if self.row.parts:
            return ["ensemble", *(str(self.folder(part) / f"{test}.npz") for part in self.row.parts), *scores]
        model = self.folder(self.row.model) / "last.safetensors"
        options = self.table.words_of(f"{self.table.test} {self.row.test}", seed=self.seed)
        return ["test", str(model), self.table.fill(self.table.tests[test], seed=self.seed), *options, *scores]

    def scores(self, test: str) -> Path:
        """Where the scores of a test lie."""
        return self.folder() / f"{test}.npz"


def call(words: list[str], threads: int) -> None:
    """Run a command with so many threads; on cores shared with others, ones that spin while they wait cost minutes."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    subprocess.run(words, check=True, env=environment)


def make_data(table: Table, *, is_dry: bool) -> None:
    """Run the commands whose files are missing, in order."""
    for command in table.make:
        file, _, words = (part.strip() for part in command.partition("<-"))
        if is_dry or not Path(table.fill(file)).exists():
            name, *rest = table.words_of(words)
            full = [*GATESHIFT, *rest] if name == "gateshift" else [sys.executable, str(HERE / name), *rest]
            if is_dry:
                print(shlex.join(full))
            else:
                call(full, num_cores())


def work(place: Place, threads: int) -> None:
    """Train one row at one seed, test it on every list, and note what came out."""
    folder = place.folder()
    if words := place.train_words():
        if (folder / "state").is_dir():
            words.append("--resume")
        elif folder.exists():
            shutil.rmtree(folder)  # nothing of it was finished
        call([*GATESHIFT, *words], threads)
    folder.mkdir(parents=True, exist_ok=True)
    curve = read_lines(folder / "log.csv")
    lines, confusions = [], []
    for test, source in place.table.tests.items():
        call([*GATESHIFT, *place.test_words(test)], threads)
        scores = load_scores(place.scores(test))
        pairs = read_pairs(Path(place.table.fill(source)).parent / REVERSAL_FILE)
        line = {**place.key, "test": test, **measure(scores, pairs), **machine()}
        line["train_minutes"] = round(sum(float(epoch["seconds"]) for epoch in curve) / 60, 2) if words else ""
        line["words"] = place.row.words
        lines.append(line)
        confusions += [{**place.key, "test": test, **cell} for cell in pair_confusions(scores, pairs)]
        print(
            f"{place.table.name} {place.row.name} seed {place.seed} {test}: {line['right']} of {line['of']}", flush=True
        )
    with WRITING:
        append_lines(place.file("-confusions"), CONFUSIONS, confusions)
        kept = [{name: epoch.get(name, "") for name in CURVES} for epoch in curve]
        append_lines(place.file("-curves"), CURVES, [{**epoch, **place.key} for epoch in kept])
        append_lines(place.file(), RESULTS, lines)  # last: it says that the row is done


def fill(table: Table, runs: Path, results: Path, *, jobs: int) -> None:
    """Work through the rows and seeds that are not in the results yet."""
    results.mkdir(parents=True, exist_ok=True)
    done = {(line["row"], line["seed"]) for line in read_lines(results / f"{table.name}.csv")}
    places = [Place(table, row, seed, runs, results) for seed in table.seeds for row in table.rows]
    places = [place for place in places if (place.row.name, str(place.seed)) not in done]
    threads = max(1, num_cores() // jobs)
    trained = [place for place in places if place.train_words()]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda place: work(place, threads), trained))
    for place in places:  # rows that others must be there for
        if not place.train_words():
            work(place, threads)


def main() -> None:
    """Read the command line, make the data, fill the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--data", type=Path, default=Path("runs/accuracy/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy/runs"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the CSV files")
    parser.add_argument("--paths", default="PATHS", help="folder of EgoGestAR's finger paths")
    parser.add_argument("--clips", default="CLIPS", help="folder of EgoGestAR's test videos")
    parser.add_argument("--rows", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; they share the cores")
    parser.add_argument("--list", action="store_true", help="print the commands, run none")
    given = parser.parse_args()
    places = {"data": str(given.data), "runs": str(given.out), "paths": given.paths, "clips": given.clips}
    table = narrow(read_table(given.table, places), rows=given.rows, seeds=given.seeds)
    make_data(table, is_dry=given.list)
    if not given.list:
        fill(table, given.out, given.results, jobs=given.jobs)
        return
    for seed in table.seeds:
        for row in table.rows:
            place = Place(table, row, seed, given.out, given.results)
            for words in (place.train_words(), *(place.test_words(test) for test in table.tests)):
                if words:
                    print(shlex.join(["gateshift", *words]))


if __name__ == "__main__":
    main()
