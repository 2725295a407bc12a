"""The verb score: events or spans of files, beside labels."""

from pathlib import Path

import pytest

from gateshift.cli.main import main

TRUTH = "path,frame,label\na.mp4,10,hit\na.mp4,30,hit\nb.mp4,5,miss\n"
ANSWERS = "path,frame,label,score\na.mp4,11,hit,0.9\na.mp4,30,hit,0.3\nb.mp4,5,miss,0.8\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "truth.csv").write_text(TRUTH)
    (tmp_path / "answers.csv").write_text(ANSWERS)
    (tmp_path / "spans.csv").write_text("path,label,start,end\na.mp4,walk,0,4\na.mp4,sit,4,6\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_events_are_scored_with_a_row_for_each_class(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["score", "truth.csv", "answers.csv", "--fps", "25", "--tolerances", "0", "1", "--report", "page.html"])
    lines = capsys.readouterr().out.splitlines()
    # Of "hit" at 0: a false alarm at 0.9, then a hit at 0.3: (1 / 2) / 2.
    assert lines[0] == (
        "mAP (frames) 0: 62.50%, 1: 100.00%; average mAP tight 100.00%, loose 100.00%; 3 events, 3 answers"
    )
    rows = {cells[1]: cells[2:-1] for line in lines if (cells := [cell.strip() for cell in line.split("│")])[1:]}
    assert rows["hit"] == ["25.0%", "100.0%", "2", "1", "100.0%", "50.0%", "66.7%", "40 ms", "40 ms"]
    assert rows["miss"] == ["100.0%", "100.0%", "1", "0", "100.0%", "100.0%", "100.0%", "0 ms", "0 ms"]
    assert rows["all classes"][:4] == ["62.5%", "100.0%", "3", "1"]
    assert lines[-1] == "report: page.html"
    assert "1 events were missed" in (files / "page.html").read_text("utf-8")


def test_spans_are_told_by_their_columns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["score", str(files / "spans.csv"), "spans.csv"])
    assert capsys.readouterr().out == (
        "frame accuracy 100.00%, edit 100.0, F1 at IoU 0.1: 100.00%, 0.25: 100.00%, 0.5: 100.00%; 2 spans\n"
    )


def test_columns_may_be_in_quotes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "quoted.csv").write_text('"path","label","start","end"\n"a.mp4","walk","0","4"\n"a.mp4","sit","4","6"\n')
    main(["score", "quoted.csv", "spans.csv"])
    assert capsys.readouterr().out.startswith("frame accuracy 100.00%, edit 100.0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no.csv answers.csv", "no.csv: no such file of events"),
        ("truth.csv spans.csv", "columns path, label, start, end; add time_s or frame"),
        ("truth.csv answers.csv --fps 0", "--fps 0.0; it must be above 0"),
        ("truth.csv answers.csv --rule best", "--rule best; choose one of nearest, soccernet"),
        ("truth.csv answers.csv --report truth.csv", "--report truth.csv; its name must end with .html"),
        ("spans.csv spans.csv --report page.html", "--report of spans; a page is of events; leave it out"),
    ],
)
@pytest.mark.usefixtures("files")
def test_a_mistake_is_one_line_and_code_2(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["score", *words.split()])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
