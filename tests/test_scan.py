"""What is wrong with a folder of videos, told before a training stumbles over it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import get_args

import pytest
from video_corpus import BAD, CONTAINERS, CUT, GOOD, MPEG4, NUM_FRAMES, VP9, Kind, encode, scene

from gateshift.cli.main import main, parse
from gateshift.data.check.headers import missing_bytes
from gateshift.data.check.quarantine import Fault
from gateshift.data.check.scan import ScanReport, _check, scan
from gateshift.data.check.settings import ScanSettings
from gateshift.data.check.video import Part, check_video
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.lists.tables import read_paths
from gateshift.data.processes import LONGEST_TEMP_CHARS, _Worker, in_processes
from gateshift.errors import SettingsError

FAULTS = {
    "zero bytes": "zero-bytes",
    "text": "unreadable",
    "noise": "unreadable",
    "sound alone, mp4": "no-video",
    "sound alone, wav called avi": "no-video",
    "a link to itself": "missing",
    "a link to nothing": "missing",
    "a pipe": "unreadable",
    "a playlist of an address": "unreadable",
    "frames of two sizes": "no-times changing-size",
    "mpeg4 in avi, with frames between": "no-times",
    "h263 in 3gp": "not-square",
    "mirrored": "mirrored",
    "mirrored and upside down": "mirrored",
    "pixels that are not square": "not-square",
    "pictures that begin after the sound": "late",
    "two recordings in one": "joined",
    "mp4, cut at 50%": "truncated",
    "mp4, index first, cut at 50%": "truncated",
    "mp4, in fragments, cut at 75%": "truncated",
    "webm, cut at 75%": "truncated",
    "mkv, cut at 50%": "truncated",
    "mkv, cut at 90%": "truncated",
    "avi, cut at 60%": "truncated",
    "wmv, cut at 75%": "truncated",
    "gif, cut at 50%": "unreadable",
    "a header of 3 hours, mkv": "wrong-length",
    "a header of 3 hours, avi": "wrong-length",
    "tilted by 30 degrees": "rotated",
    "variable rate, mp4": "variable-rate",
    "variable rate, webm": "variable-rate",
}
KINDS = {**GOOD, **BAD, **CUT}
WITHOUT_A_FAULT = sorted(set(GOOD) - set(FAULTS))


def faults_of(path: Path, *parts: Part) -> list[str]:
    return [problem.problem for problem in check_video(path, parts or (Part(),)).problems]


def listed_faults(found: ScanReport, folder: Path) -> dict[str, str]:
    return {problem.path.relative_to(folder).as_posix(): problem.problem for problem in found.problems}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    kind: Kind = KINDS[name]
    kind.write(tmp_path / kind.file)
    problems = check_video(tmp_path / kind.file, [Part()]).problems
    assert [problem.problem for problem in problems] == FAULTS[name].split()
    for problem in problems:
        assert problem.detail and "\n" not in problem.detail and str(tmp_path) not in problem.detail


@pytest.mark.parametrize("name", WITHOUT_A_FAULT)
def test_nothing_is_wrong_with_a_good_video(name: str, tmp_path: Path) -> None:
    GOOD[name].write(tmp_path / GOOD[name].file)
    assert faults_of(tmp_path / GOOD[name].file) == []


@pytest.mark.parametrize("name", ["mp4", "mp4, index first", "mp4, in fragments", "mov", "webm", "mkv", "avi", "wmv"])
def test_the_bytes_that_were_cut_off_are_counted(name: str, tmp_path: Path) -> None:
    file, options = CONTAINERS[name]
    encode(tmp_path / file, **options)
    data = (tmp_path / file).read_bytes()
    assert missing_bytes(tmp_path / file) == 0
    for num_cut in (1, 30):
        (tmp_path / file).write_bytes(data[:-num_cut])
        assert missing_bytes(tmp_path / file) == num_cut


@pytest.mark.slow
def test_a_stream_that_appears_after_the_beginning_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.flv"
    encode(path, scene(1, 32, 32).repeat(400, 0), codec="flv1")
    sound = bytes([0x36]) + bytes(400)
    tag = bytes([8]) + len(sound).to_bytes(3, "big") + bytes(7) + sound
    path.write_bytes(path.read_bytes() + 20 * (tag + len(tag).to_bytes(4, "big")))
    assert faults_of(path) == []


def test_a_video_that_a_library_stumbles_over_ends_no_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise IndexError("list index out of range\nor so")

    encode(tmp_path / "a.mp4")
    monkeypatch.setattr("gateshift.data.check.video.durations_s", stumble)
    (problem,) = _check((tmp_path / "a.mp4", [])).problems
    assert (problem.problem, problem.detail) == ("unreadable", "IndexError: list index out of range or so")


def test_a_video_without_frames_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode(path, container_options={"movflags": "frag_keyframe+empty_moov"})
    path.write_bytes(path.read_bytes().partition(b"moof")[0][:-4])  # its header alone
    assert faults_of(path) == ["empty"]


def test_a_list_that_says_too_much_is_a_wrong_length(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode(path)
    assert faults_of(path, Part(num_frames=NUM_FRAMES)) == []
    assert faults_of(path, Part(num_frames=NUM_FRAMES + 1)) == ["wrong-length"]
    parts = [Part("#0-0.2", 0.0, 0.2), Part("#2-3", 2.0, 3.0)]
    (problem,) = check_video(path, parts).problems
    assert (problem.problem, problem.name) == ("wrong-length", f"{path}#2-3")


def test_a_damaged_image_of_a_folder_is_found(
    tmp_path: Path, write_folder: Callable[..., Path], counting_frames: Callable
) -> None:
    folder = write_folder(tmp_path / "frames", counting_frames(4))
    assert faults_of(folder) == []
    (folder / "img_00003.png").write_bytes(b"no image")
    assert faults_of(folder) == ["unreadable"]


def test_videos_that_show_the_same_are_found_in_whichever_container(tmp_path: Path) -> None:
    for name in ("train/open/a.mp4", "train/open/other.mp4", "val/close/b.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        frames = scene()[::-1].copy() if "other" in name else scene()
        encode(tmp_path / name, frames, options={"qp": "0"})
    found = scan([tmp_path / "train", tmp_path / "val"], out=None, timeout=60)
    assert found.num_videos == 3
    assert listed_faults(found, tmp_path) == {"val/close/b.mkv": "duplicate"}
    assert found.problems[0].detail == f"shows the same as {tmp_path / 'train/open/a.mp4'}"


def test_a_video_of_two_lists_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    encode(Path("a.mp4"))
    Path("train.csv").write_text("path,label\na.mp4,open\n")
    Path("lists").mkdir()
    Path("lists/val.csv").write_text("path,label\n../a.mp4,open\n")
    Path("parts.csv").write_text("path,label,start,end\na.mp4,open,0,0.1\na.mp4,open,0.2,0.3\n")
    main(["scan", "train.csv", "parts.csv", ".", "--out", "bad.csv"])
    assert "1 videos: nothing wrong" in capsys.readouterr().out
    main(["scan", "train.csv", "lists/val.csv", "--out", "bad.csv", "--overwrite"])
    said = capsys.readouterr().out.replace("\n", " ")
    assert "1 videos: 1 listed-twice" in said and "with 0 to leave out" in said


def test_a_recording_with_several_events_is_one_video(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4")
    (tmp_path / "events.csv").write_text("path,time_s,label,box\na.mp4,0,hit,\na.mp4,0.1,bounce,\nb.mp4,,,\n")
    halves = [{"video": f"a_{start}_{start + 2}", "num_frames": 2, "events": []} for start in (0, NUM_FRAMES - 1)]
    (tmp_path / "events.json").write_text(json.dumps(halves))
    found = scan([tmp_path / "events.csv", tmp_path / "events.json"], out=None, workers=1)
    assert [(each.path.name + each.part, each.problem) for each in found.problems] == [
        (f"a.mp4#{NUM_FRAMES - 1}-{NUM_FRAMES + 1}", "wrong-length"),
        ("b.mp4", "missing"),
    ]


@pytest.mark.slow
def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    encode(tmp_path / "long.mp4", scene(200, 480, 640), options={"preset": "ultrafast"})
    (tmp_path / "empty.mp4").touch()
    found = scan(tmp_path, out=None, timeout=0.1, workers=1)
    assert listed_faults(found, tmp_path) == {"empty.mp4": "zero-bytes", "long.mp4": "time-out"}
    assert "was not decoded in 0.1 s" in found.problems[1].detail


class KilledWhenSent:
    def __reduce__(self) -> tuple:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def sleep_or_die(task: str) -> object:
    if task == "die sending":
        return KilledWhenSent()
    if task == "hang":
        time.sleep(600)
    if task == "die":
        os.abort()
    if task == "raise":
        raise LookupError(task)
    return task.upper()


@pytest.mark.slow
def test_work_that_hangs_or_dies_stops_no_other() -> None:
    tasks = ["a", "hang", "b", "die", "hang", "c"]
    started_s = time.monotonic()
    found = dict(in_processes(sleep_or_die, tasks, workers=2, timeout_s=1.0))
    assert found == {0: "A", 1: "time-out", 2: "B", 3: "crash", 4: "time-out", 5: "C"}
    assert time.monotonic() - started_s < 60


@pytest.mark.slow
def test_work_that_is_killed_while_it_sends_its_result_stops_no_other() -> None:
    found = dict(in_processes(sleep_or_die, ["die sending", "a", "b", "c"], workers=2, timeout_s=60.0))
    assert found == {0: "crash", 1: "A", 2: "B", 3: "C"}


@pytest.mark.slow
def test_work_is_done_where_the_folder_for_temporary_files_is_too_deep_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * LONGEST_TEMP_CHARS)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert dict(in_processes(sleep_or_die, ["a", "b"], workers=2, timeout_s=60.0)) == {0: "A", 1: "B"}


@pytest.mark.slow
def test_a_process_that_is_gone_before_it_gets_a_task_is_a_crash() -> None:
    worker = _Worker(sleep_or_die, 0, "a")
    assert [worker.answer(True, 60.0) for _ in range(2)] == [None, ("A",)]
    worker._process.kill()
    worker._process.join()
    worker.give(1, "b", 60.0)
    assert worker.answer(True, 60.0) == "crash"
    worker.end()


@pytest.mark.slow
def test_what_work_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="raise"):
        list(in_processes(sleep_or_die, ["a", "raise"], workers=1, timeout_s=30.0))


def test_a_program_that_processes_would_run_again_is_told_what_it_lacks(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    calls = "list(in_processes(posixpath.basename, ['a'], workers=1, timeout_s=60.0))"
    program.write_text(f"import posixpath\nfrom gateshift.data.processes import in_processes\n{calls}\n")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs `if __name__ == '__main__':` before what it does" in done.stderr.splitlines()[-1]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Class folders with good and bad videos."""
    write: dict[str, Callable[[Path], None]] = {
        "open/good.mp4": encode,
        "open/uneven.webm": GOOD["variable rate, webm"].write,
        "open/zero.mp4": Path.touch,
        "close/cut.mkv": CUT["mkv, cut at 50%"].write,
        "close/good.avi": partial(encode, **MPEG4),
        "close/good.webm": partial(encode, frames=scene()[::-1].copy(), **VP9),
    }
    for name, each in write.items():
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        each(tmp_path / "clips" / name)
    return tmp_path / "clips"


@pytest.mark.slow
def test_the_real_command_writes_what_train_leaves_out(clips: Path) -> None:
    words = [sys.executable, "-m", "gateshift", "scan", "clips", "--timeout", "60"]
    done = subprocess.run(words, cwd=clips.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "6 videos: 1 truncated, 1 variable-rate, 1 zero-bytes" in done.stdout.replace("\n", " ")
    assert "quarantine.csv, with 2 to leave out" in done.stdout
    with (clips.parent / "quarantine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["problem"]) for row in rows] == [
        (str(clips / "close/cut.mkv"), "truncated"),
        (str(clips / "open/zero.mp4"), "zero-bytes"),
    ]
    assert all(row["detail"] for row in rows)


def test_the_call_gives_and_writes_what_the_command_does(clips: Path) -> None:
    steps: list[tuple[int, int]] = []
    out = clips.parent / "bad.csv"
    (clips / "open/notes.txt").write_text("Wednesday")
    (clips / "open/hidden.xyz").write_bytes((clips / "open/good.mp4").read_bytes())
    report = scan(str(clips), out=str(out), timeout=60, progress=lambda done, total: steps.append((done, total)))
    assert report.num_videos == 6 and report.counts == {"truncated": 1, "variable-rate": 1, "zero-bytes": 1}
    assert [problem.path.name for problem in report.left_out] == ["cut.mkv", "zero.mp4"]
    assert read_paths(out) == {problem.name for problem in report.left_out}
    assert steps == [(number, 6) for number in range(7)]
    (note,) = report.notes
    assert "hidden.xyz" in note


def test_a_call_writes_nothing_where_it_is_told_so_and_replaces_nothing_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    assert scan([Path("a.mp4")], out=None, keep=["zero-bytes"]).left_out == ()
    assert scan("a.mp4", out=None, keep="zero-bytes").left_out == ()
    with pytest.raises(SettingsError, match="`keep` 'zero_bytes'; choose one of missing, zero-bytes, "):
        scan("a.mp4", out=None, keep=["zero_bytes"])  # type: ignore[list-item]
    assert not Path("quarantine.csv").exists()
    assert len(scan("a.mp4").left_out) == 1
    with pytest.raises(SettingsError, match=r"`out` quarantine\.csv exists"):
        scan("a.mp4")


def test_the_call_and_the_command_have_the_same_defaults() -> None:
    defaults = {each.name: each.default for each in fields(ScanSettings) if each.name != "videos"}
    parameters = {name: each.default for name, each in signature(scan).parameters.items() if name in defaults}
    assert {**parameters, "out": Path(parameters["out"])} == defaults


@pytest.mark.parametrize("form", ["folder", "list", "list with another root"])
def test_lists_of_every_form_lose_what_is_in_quarantine(
    form: str, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips.parent)
    with pytest.raises(SystemExit):
        main(["scan", "clips"])
    names = [path.relative_to(clips).as_posix() for path in sorted(clips.rglob("*.*"))]
    root = "clips/" if form == "list" else ""
    Path("lists").mkdir()
    Path("lists/all.csv").write_text("path,label\n" + "".join(f"../{root}{name},x\n" for name in names))
    manifest = read_manifest("clips") if form == "folder" else read_manifest("lists/all.csv", root=None)
    if form == "list with another root":
        manifest = read_manifest("lists/all.csv", root="clips/open")
    left = manifest.without(read_paths(Path("quarantine.csv")))
    assert sorted(entry.path.name for entry in left.entries) == ["good.avi", "good.mp4", "good.webm", "uneven.webm"]


def test_a_bad_part_is_left_out_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encode(Path("a.mp4"))
    Path("parts.csv").write_text("path,label,start,end\na.mp4,open,0,0.2\na.mp4,close,5,6\n")
    with pytest.raises(SystemExit):
        main(["scan", "parts.csv", "--out", "bad.csv"])
    left = read_manifest("parts.csv").without(read_paths(Path("bad.csv")))
    assert [entry.video_id for entry in left.entries] == ["a.mp4#0-0.2"]


def test_problems_that_are_kept_are_told_alone(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clips.parent)
    main(["scan", "clips", "--keep", "truncated", "zero-bytes", "variable-rate"])
    assert "1 truncated, 1 variable-rate, 1 zero-bytes" in capsys.readouterr().out.replace("\n", " ")
    assert read_paths(Path("quarantine.csv")) == frozenset()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"(DATA|`videos`) names nothing; name lists, folders or videos"),
        (["clips", "--out", "nowhere/q.csv"], r"--out nowhere/q\.csv: no folder nowhere; create it"),
        (
            ["clips", "--out", "there.csv"],
            r"--out there\.csv exists; choose another name, or add --overwrite",
        ),
        (["clips", "--timeout", "0"], r"--timeout 0; it must be above 0 seconds; raise it"),
        (["clips", "--workers", "0"], r"--workers 0; it must be at least 1; raise it"),
        (["none"], "none: no video in it or below"),
        (["nothing.csv"], "nothing.csv: no such list"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str],
    message: str,
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(clips.parent)
    Path("there.csv").touch()
    Path("none").mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["scan", *words])
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_what_the_document_says_is_so() -> None:
    text = (Path(__file__).parent.parent / "docs" / "bad-videos.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(get_args(Fault))
    for line in re.findall(r"^gateshift (.*?)(?: +#.*)?$", text, re.MULTILINE):
        parse(line.split())
