"""The page about answers beside the truth: its timelines, and the frames of the worst mistakes."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import gateshift as gs
from gateshift.errors import SettingsError

EVENTS = [("clips/a.mp4", 10, "hit <hard>"), ("clips/a.mp4", 30, "hit <hard>"), ("gone.mp4", 5, "miss")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, put_video: Callable[[Path, int], Path]) -> str:
    """Of three events one is found, and there is one false alarm."""
    folder = tmp_path_factory.mktemp("report")
    put_video(folder / "clips" / "a.mp4", 40)
    rows = [f"{video},{frame},{label}" for video, frame, label in EVENTS]
    (folder / "truth.csv").write_text("\n".join(["path,frame,label", *rows]))
    (folder / "answers.csv").write_text(
        "path,frame,label,score\na.mp4,11,hit <hard>,0.9\na.mp4,22,hit <hard>,0.8\na.mp4,35,hit <hard>,0.3\n"
    )
    gs.score_events(folder / "truth.csv", folder / "answers.csv", fps=10).report(folder / "page.html")
    return (folder / "page.html").read_text("utf-8")


def section(page: str, name: str) -> str:
    return page.split(f'<h2 id="{name}">')[1].split("<h2")[0]


def test_a_timeline_has_each_event_and_each_answer_and_says_which_are_wrong(page: str) -> None:
    found = section(page, "timelines")
    assert re.findall(r"<bdi>([^<]*)</bdi>: (\d) of (\d) events found, (\d) false alarms", found) == [
        ("clips/a.mp4", "1", "2", "1"), ("gone.mp4", "0", "1", "0"),
    ]  # fmt: skip
    assert re.findall(r"<title>(.*?)</title>", found) == [
        "hit &lt;hard&gt;, frame 10",
        "hit &lt;hard&gt;, frame 30, missed",
        "hit &lt;hard&gt;, frame 11, score 0.90",
        "hit &lt;hard&gt;, frame 22, score 0.80, hits nothing",
        "miss, frame 5, missed",
    ]
    assert found.count('class="mark wrong"') == 3


def test_misses_are_shown_with_the_frames_around_them(page: str, numbers_of: Callable[..., list[int]]) -> None:
    missed = section(page, "missed")
    assert "2 events were missed" in missed
    assert "frame 30: nearest answer +5 frames, score 0.30" in missed
    assert "frame 5: no answer of this class in the video" in missed
    assert "No frames: <bdi>gone.mp4 is not in" in missed
    assert [place for place, tag in enumerate(re.findall("<img [^>]*>", missed)) if 'class="own"' in tag] == [4]
    assert numbers_of(pictures(missed)) == list(range(26, 35))


def pictures(text: str) -> Tensor:
    """The frames of a section: [T, 3, H, W]."""
    found = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def test_frames_of_a_part_are_those_of_its_recording(
    tmp_path: Path, put_video: Callable[[Path, int], Path], numbers_of: Callable[..., list[int]]
) -> None:
    put_video(tmp_path / "final.mp4", 40)
    part = {"video": "final_00000020_00000035", "num_frames": 15, "fps": 10, "events": [{"frame": 6, "label": "hit"}]}
    (tmp_path / "truth.json").write_text(json.dumps([part]))
    answer = {"video": part["video"], "label": "hit", "time_s": 1.2, "score": 0.9}
    gs.score_events(tmp_path / "truth.json", [answer], fps=10).report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert numbers_of(pictures(section(page, "missed"))) == list(range(22, 31))
    assert numbers_of(pictures(section(page, "false"))) == list(range(28, 35))


def test_false_alarms_are_shown_too(page: str) -> None:
    assert "1 answers hit nothing" in section(page, "false")
    assert "frame 22: score 0.80" in section(page, "false")


def test_the_table_has_the_figures_of_each_class(page: str) -> None:
    rows = re.findall(r"<tr><th scope=\"row\" class=\"name\"><bdi>(.*?)</bdi></th>(.*?)</tr>", section(page, "classes"))
    cells = {name: re.findall(r"<td[^>]*>(.*?)</td>", row) for name, row in rows}
    # AP at 0, 1, 2 and 4 frames, events, missed, precision, recall, F1, median and 90th percentile of the error
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells["hit &lt;hard&gt;"]] == [
        "0.0 %", "50.0 %", "50.0 %", "50.0 %", "2", "1", "50.0 %", "50.0 %", "50.0 %", "100", "100",
    ]  # fmt: skip
    assert list(cells) == ["hit &lt;hard&gt;", "miss", "all classes"]


def test_the_page_needs_no_other_file(page: str) -> None:
    assert set(re.findall(r'(?:src|href)="([^":]*)', page)) <= {"data"}


def test_a_page_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    scores = gs.score_events([{"video": "v", "time_s": 1, "label": "hit"}], [], fps=10)
    with pytest.raises(SettingsError, match="exists; choose another name"):
        scores.report(tmp_path / "page.html")
    scores.report(tmp_path / "page.html", overwrite=True)
    assert "0 of 1 events found" in (tmp_path / "page.html").read_text("utf-8")
