"""Lists are held in columns, and give the entries of their rows."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateshift.data.lists.manifest import Entry, read_manifest
from gateshift.data.regions import region_text
from gateshift.errors import ManifestError


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


texts = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=12)
times = st.none() | st.integers(0, 50).map(lambda number: number / 4)
boxes = st.sampled_from([None, (0, 0, 40, 30), (0.0, 0.25, 1.0, 0.5)])


@pytest.mark.slow
@given(st.lists(st.tuples(texts, texts, times, times, boxes), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_list_read_into_columns_gives_the_entries_of_its_rows(scratch: Path, rows: list[tuple]) -> None:
    rows = [row for row in rows if row[2] is None or row[3] is None or row[2] < row[3]]
    source = scratch / "list.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("path", "label", "start", "end", "box"), *((*row[:4], row[4] and region_text(row[4])) for row in rows)]
        )
    if not rows:
        with pytest.raises(ManifestError, match="lists no videos"):
            read_manifest(source)
        return
    expected = []
    for path, label, start_s, end_s, box in rows:
        start, end = ("" if time is None else time for time in (start_s, end_s))
        part = "" if start_s is None and end_s is None else f"#{start}-{end}"
        part = part if box is None else f"{part or '#'}@{region_text(box)}"
        expected.append(Entry(path + part, scratch / path, label, start_s, end_s, box=box))
    manifest = read_manifest(source)
    assert len(manifest) == len(expected)
    assert list(manifest.entries) == expected
    assert manifest.entries[:2] == tuple(expected[:2])
    assert manifest.entries[-1] == expected[-1]
    assert list(manifest.entries.video_ids()) == [entry.video_id for entry in expected]
    assert manifest == read_manifest(source)
    classes = manifest.class_names()
    assert [classes[index] for index in manifest.label_indices(classes)] == [entry.label for entry in expected]


@given(st.lists(st.tuples(texts, st.integers(1, 999_999_999), st.integers(0, 300)), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_an_original_list_read_into_columns_gives_its_lines(scratch: Path, lines: list[tuple[str, int, int]]) -> None:
    source = scratch / "list.txt"
    source.write_text("".join(f"{path} {frames} {label}\n" for path, frames, label in lines), encoding="utf-8")
    manifest = read_manifest(source)
    assert list(manifest.entries) == [
        Entry(path, scratch / path, label, num_frames=frames) for path, frames, label in lines
    ]
    with pytest.raises(IndexError):
        manifest.entries[len(lines)]


def test_names_that_are_no_utf8_are_kept(tmp_path: Path, write_video: Callable, counting_frames: Callable) -> None:
    (tmp_path / "data" / "wave").mkdir(parents=True)
    write_video(tmp_path / "a.mp4", counting_frames(2))
    path = tmp_path / "data" / "wave" / "caf\udce9.mp4"
    shutil.copy(tmp_path / "a.mp4", path)
    assert read_manifest(tmp_path / "data").entries[0].path == path


def test_a_long_list_takes_little_memory(tmp_path: Path) -> None:
    rows = "".join(f"videos/{number:06d}.mp4,class {number % 50}\n" for number in range(20_000))
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    entries = read_manifest(tmp_path / "list.csv").entries
    columns = (entries._codes, entries._paths._ends, entries._paths._bytes, entries._parts._bytes, entries._times_s)
    assert sum(map(sys.getsizeof, columns)) < 50 * len(entries)
