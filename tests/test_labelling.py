"""Labelling programs: a file in, a list out, answers back, and read again with the same times."""

import csv
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelling_files import EVENTS, FILES, FRAMES, GIVEN, RATE, SPANS, by_name, lay_files, lay_videos
from PIL import Image

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.labelling.programs import PROGRAMS, SUFFIXES, Program
from gateshift.errors import GateShiftWarning, ManifestError, SettingsError

COUNT_FRAMES = ("label-studio", "cvat")
ONE_VIDEO = ("elan", "cvat")
OF_SPANS: tuple[Program, ...] = ("boris", "elan", "label-studio", "cvat", "via", "create-ml")
OF_EVENTS = tuple(program for program in PROGRAMS if program != "create-ml")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, put_video: Callable[[Path, int], Path]) -> Path:
    return lay_videos(tmp_path_factory.mktemp("recordings"), put_video)


@pytest.mark.parametrize("name", GIVEN)
def test_a_file_of_each_program_says_what_was_marked(name: str, videos: Path) -> None:
    program, files, options = GIVEN[name]
    labels = gs.read_labels([FILES / file for file in files], program, videos=videos, **options)
    spans, events = by_name(labels)
    assert spans == SPANS
    assert events == ({"fox.mp4": [], "hen.mp4": []} if program == "create-ml" else EVENTS)
    assert all(Path(video).is_file() for video in labels.spans)


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("a project of BORIS", [
            "days.boris: labels of each subject are taken: red (6), none (1); choose by `only`",
            "days.boris: observation 'in the field' has no video; it is left out",
            "days.boris: modifiers (1) are not kept", "days.boris: comments (1) are not kept",
        ]),
        ("ELAN", ["fox.eaf: annotations without times of their own (1) are not kept"]),
        ("Label Studio", [
            "label_studio.json: results without times (1) are not kept",
            "label_studio.json: cancelled annotations (1) are not kept",
            "label_studio.json: the boxes of tracks (1) are not kept",
            "label_studio.json: frames are counted at each video's own rate; if the project has another, give `fps`",
        ]),
        ("CVAT", [
            "fox_cvat.xml: the shapes of tracks (3) are not kept", "fox_cvat.xml: attributes (2) are not kept",
        ]),
        ("VIA", [
            "via.json: labels of each attribute are taken: TEMPORAL-SEGMENTS (4), moments (3); choose by `only`",
            "via.json: regions of pictures, and what is said of whole files, (1) are not kept",
        ]),
        ("Create ML's CSV", []),
    ],
)  # fmt: skip
def test_what_is_not_kept_is_said_in_a_line_each(name: str, notes: list[str], videos: Path) -> None:
    program, files, options = GIVEN[name]
    labels = gs.read_labels([FILES / file for file in files], program, videos=videos, **options)
    assert list(labels.notes) == notes


def test_every_tier_is_taken_unless_some_are_named(videos: Path) -> None:
    labels = gs.read_labels(FILES / "fox.eaf", "elan", videos=videos)
    assert (
        "fox.eaf: labels of each tier are taken: behaviour (2), moments (2), notes (1); choose by `only`"
        in labels.notes
    )
    assert (
        gs.Span(0.5, 2.0, "limps") in labels.spans[str(videos / "days" / "fox.mp4")]
    )  # of the annotation it refers to
    with pytest.raises(SettingsError, match=r"`only` tier: .*fox\.eaf has no such tier; there are behaviour \(2\)"):
        gs.read_labels(FILES / "fox.eaf", "elan", videos=videos, only=["tier"])


def test_two_people_s_labels_of_one_video_all_count_and_overlaps_are_said(videos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('[{"video": "fox.mp4", "label": "run", "start": 1, "end": 3}]')
    labels = gs.read_labels([FILES / "create_ml.json", other], "create-ml", videos=videos)
    assert [span.label for span in labels.spans[str(videos / "days" / "fox.mp4")]] == ["walk", "run", "sit"]
    assert labels.notes == (
        "fox.mp4 is labelled 2 times (create_ml.json, other.json); all count",
        "2 spans overlap another, such as 'walk' (0.5-2.0 s) and 'run' (1.0-3.0 s) in fox.mp4; all are listed; a "
        "training takes the one that starts last",
    )


def answers(kind: str, videos: Path, num_videos: int) -> gs.EventList | dict[str, list[gs.Span]]:
    """What a network found: as TRUTH, with scores."""
    names = {"fox.mp4": str(videos / "days" / "fox.mp4"), "hen.mp4": str(videos / "hen.mp4")}
    kept = dict(list(names.items())[:num_videos])
    if kind == "spans":
        return {path: [gs.Span(s.start_s, s.end_s, s.label, 0.75) for s in SPANS[name]] for name, path in kept.items()}
    found = [(path, time_s, label) for name, path in kept.items() for time_s, label in EVENTS[name]]
    return gs.EventList.of(gs.Event(path, label, round(time_s * RATE), time_s, 0.75) for path, time_s, label in found)


@pytest.mark.parametrize("kind", ["spans", "events"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_answers_go_back_to_each_program_and_are_read_again(
    program: Program, kind: str, videos: Path, tmp_path: Path
) -> None:
    num_videos = 1 if program in (*ONE_VIDEO, "soccernet") else 2
    out = tmp_path / f"answers{SUFFIXES[program][0]}"
    found = answers(kind, videos, num_videos)
    if program not in (OF_SPANS if kind == "spans" else OF_EVENTS):
        with pytest.raises(SettingsError, match=f"`program` {program} holds"):
            gs.write_labels(found, out, program)
        assert not out.exists()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateShiftWarning)
        gs.write_labels(found, out, program)
    spans, events = by_name(gs.read_labels(out, program, videos=videos))
    names = list(SPANS)[:num_videos]
    if program == "soccernet":  # its halves have numbers in place of names
        events = dict(zip(names, events.values(), strict=True))
    assert {name: [(s.start_s, s.end_s, s.label) for s in own] for name, own in spans.items() if own} == (
        {name: [(s.start_s, s.end_s, s.label) for s in SPANS[name]] for name in names} if kind == "spans" else {}
    )
    assert {name: own for name, own in events.items() if own} == (
        {name: EVENTS[name] for name in names} if kind == "events" else {}
    )


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("elan", ["elan has no place for scores; they are not written"]),
        ("cvat", ["cvat has no place for scores; they are not written",
                  "cvat counts frames: times are those of the nearest ones"]),
        ("label-studio", ["label-studio counts frames: times are those of the nearest ones"]),
        ("boris", []),
    ],
)  # fmt: skip
def test_what_a_program_cannot_hold_is_said(program: Program, told: list[str], videos: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gs.write_labels(answers("spans", videos, 1), tmp_path / f"a{SUFFIXES[program][0]}", program)
    assert [str(each.message) for each in caught] == told


labels_ = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5)
times_ms = st.integers(0, FRAMES * 1000 // RATE)
frames = st.integers(0, FRAMES)


def spans_of(times: st.SearchStrategy[int], unit_s: float) -> st.SearchStrategy[list[gs.Span]]:
    """Any spans, which may overlap; of two frames at least, as one frame is a moment where frames are counted."""
    least = 2 if unit_s > 0.01 else 1
    pairs = st.tuples(times, times).filter(lambda pair: pair[1] - pair[0] >= least)
    return st.lists(
        st.builds(lambda pair, label: gs.Span(pair[0] * unit_s, pair[1] * unit_s, label), pairs, labels_), max_size=6
    )


def same(found: list[gs.Span], wanted: list[gs.Span]) -> bool:
    def key(span: gs.Span) -> tuple[int, int, str]:
        return round(span.start_s * 1000), round(span.end_s * 1000), span.label

    return sorted(map(key, found)) == sorted(map(key, wanted))


@pytest.mark.slow
@pytest.mark.parametrize("program", OF_SPANS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_spans_come_back_to_the_millisecond(
    program: Program, data: st.DataObject, videos: Path, tmp_path: Path
) -> None:
    times, unit_s = (frames, 1 / RATE) if program in COUNT_FRAMES else (times_ms, 0.001)
    spans = data.draw(spans_of(times, unit_s))
    name, out = str(videos / "hen.mp4"), tmp_path / f"answers{SUFFIXES[program][0]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateShiftWarning)
        gs.write_labels({name: spans}, out, program, overwrite=True)
    assert same(gs.read_labels(out, program, videos=videos).spans.get(name, []), spans)


@pytest.mark.parametrize("program", ["boris", "elan", "label-studio", "cvat", "via", "e2e-spot"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_events_come_back_to_the_millisecond(
    program: Program, data: st.DataObject, videos: Path, tmp_path: Path
) -> None:
    times = st.integers(0, FRAMES - 1).map(lambda k: k / RATE)
    if program not in COUNT_FRAMES:
        times = times_ms.map(lambda ms: ms / 1000)
    found = data.draw(st.lists(st.tuples(times, labels_), max_size=6))
    name, out = str(videos / "hen.mp4"), tmp_path / f"answers{SUFFIXES[program][0]}"
    events = gs.EventList(
        tuple(gs.Event(name, label, time_s=time_s) for time_s, label in found),
        {name: gs.EventList.of([{"video": name, "label": ""}]).videos[name]},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateShiftWarning)
        gs.write_labels(events, out, program, overwrite=True)
    read = gs.read_labels(out, program, videos=videos).events
    assert sorted((round((each.time_s or 0) * 1000), each.label) for each in read.events) == sorted(
        (round(time_s * 1000), label) for time_s, label in found
    )


def test_a_state_over_the_end_of_a_video_is_parted(videos: Path, tmp_path: Path) -> None:
    project = (FILES / "days.boris").read_text("utf-8")
    project = (
        project.replace('{"1": ["days/hen.mp4"]', '{"1": ["days/hen.mp4", "fox.mp4"]')
        .replace('{"length": {"days/hen.mp4": 6.0}', '{"length": {"days/hen.mp4": 6.0, "fox.mp4": 6.0}')
        .replace("[3605.0,", "[3608.0,")
    )
    (tmp_path / "two.boris").write_text(project, "utf-8")
    spans, _ = by_name(gs.read_labels(tmp_path / "two.boris", "boris", videos=videos))
    assert spans["hen.mp4"][-1] == gs.Span(3.0, 6.0, "sit")
    assert spans["fox.mp4"][0] == gs.Span(0.0, 2.0, "sit")


def test_label_studio_s_frames_are_counted_at_the_rate_of_the_project(videos: Path) -> None:
    labels = gs.read_labels(FILES / "label_studio.json", "label-studio", videos=videos, fps=20)
    assert by_name(labels)[0]["fox.mp4"] == [gs.Span(0.25, 1.0, "walk"), gs.Span(1.0, 1.75, "sit")]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spans", "events"])
def test_the_verb_makes_lists_that_a_training_reads(
    kind: str, put_video: Callable[[Path, int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_videos(tmp_path, put_video)
    words = [
        "prepare",
        "boris",
        str(FILES / "days.boris"),
        "--videos",
        str(tmp_path),
        "--kind",
        kind,
        "--val-share",
        "0.5",
    ]
    main([*words, "--out", str(tmp_path / "lists")])
    printed = capsys.readouterr().out
    task = "segment" if kind == "spans" else "spot"
    lists = tmp_path / "lists"
    assert f"next: gateshift train {lists / 'train.csv'} {lists / 'val.csv'} --task {task} --out run" in printed
    assert "days.boris: modifiers (1) are not kept" in printed and "choose by --only" in printed
    both = {
        Path(row["path"]).name: rows(file) for file in (lists / "train.csv", lists / "val.csv") for row in rows(file)
    }
    if kind == "spans":
        found = {
            name: [(float(row["start"]), float(row["end"]), row["label"]) for row in own] for name, own in both.items()
        }
        assert found == {name: [(s.start_s, s.end_s, s.label) for s in own] for name, own in SPANS.items()}
        assert (lists / "classes.txt").read_text() == "sit\nwalk\n"
    else:
        assert {name: [(float(row["time_s"]), row["label"]) for row in own] for name, own in both.items()} == EVENTS
    small: dict[str, Any] = {"backbone": "test_resnet", "weights": None, "size": 32, "context": 1.0, "epochs": 1}
    small |= {"warmup_epochs": 0, "epoch_clips": 2}
    trained = gs.train(lists / "train.csv", lists / "val.csv", out=tmp_path / "run", task=task, workers=0, **small)  # type: ignore[arg-type]
    out = tmp_path / "answers.boris"
    option = "--timeline" if kind == "spans" else "--events"
    main(["predict", str(tmp_path / "run" / "best.safetensors"), str(tmp_path / "hen.mp4"), option, str(out),
          "--format", "boris", *(["--threshold", "0"] if kind == "events" else [])])  # fmt: skip
    labels = gs.read_labels(out, "boris")
    again = sum(map(len, labels.spans.values())) if kind == "spans" else len(labels.events)
    assert list(labels.spans) == [str(tmp_path / "hen.mp4")]
    assert f"{again} events: {out}" in capsys.readouterr().err
    assert trained.model.config.task == task


def test_a_video_that_is_not_there_may_be_left_out(put_video: Callable[[Path, int], Path], tmp_path: Path) -> None:
    for name in ("fox.mp4", "owl.mp4"):
        put_video(tmp_path / name, FRAMES)
    (tmp_path / "owl.json").write_text('[{"video": "owl.mp4", "label": "walk"}]')
    files = [FILES / "create_ml.json", tmp_path / "owl.json"]
    done = gs.prepare("create-ml", files, tmp_path / "lists", videos=tmp_path, allow_missing=True)
    assert [video.id for video in done.left_out] == ["hen.mp4"] and done.num_videos == {"train": 1, "val": 1}
    assert [row["id"] for row in rows(tmp_path / "lists" / "missing.csv")] == ["hen.mp4"]
    assert any(float(row["end"]) == FRAMES / RATE for row in (*rows(done.train), *rows(done.val)))  # to the video's end


def test_answers_are_found_beside_the_file_they_came_from(
    put_video: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    put_video(folder / "hen.mp4", FRAMES)
    lay_files(folder, ["hen.eaf"])
    assert by_name(gs.read_labels(folder / "hen.eaf", "elan"))[0] == {"hen.mp4": SPANS["hen.mp4"]}


def test_a_video_that_two_files_name_from_their_own_folders_is_one_recording(
    put_video: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    for name in ("fox.mp4", "hen.mp4"):
        put_video(tmp_path / "videos" / name, FRAMES)
    files = []
    for number, names in ((1, ["fox.mp4"]), (2, ["fox.mp4", "hen.mp4"])):
        path = tmp_path / f"person{number}" / "labels.json"
        path.parent.mkdir()
        marks = [{"video": f"../videos/{name}", "label": "walk", "start": number, "end": number + 1} for name in names]
        path.write_text(json.dumps(marks))
        files.append(path)
    spans = gs.read_labels(files, "create-ml").spans
    assert {name: len(own) for name, own in spans.items()} == {
        str(tmp_path / "videos" / "fox.mp4"): 2,
        str(tmp_path / "videos" / "hen.mp4"): 1,
    }
    done = gs.prepare("create-ml", files, tmp_path / "lists")
    assert done.num_videos == {"train": 1, "val": 1}
    assert len(rows(done.train)) + len(rows(done.val)) == 3


def test_names_of_videos_may_be_any_bytes(put_video: Callable[[Path, int], Path], tmp_path: Path) -> None:
    names = [put_video(tmp_path / os.fsdecode(name), FRAMES) for name in (b"caf\xe9.mp4", b"hen.mp4")]
    gs.write_labels({str(name): [gs.Span(1, 2, "walk")] for name in names}, tmp_path / "days.boris", "boris")
    done = gs.prepare("boris", tmp_path / "days.boris", tmp_path / "lists", val_share=0.5)
    assert {*gs.read_spans(done.train), *gs.read_spans(done.val)} == {str(name) for name in names}


def test_segments_without_a_label_are_told(videos: Path, tmp_path: Path) -> None:
    project = json.loads((FILES / "via.json").read_text("utf-8"))
    project["metadata"]["blank"] = {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {}}
    (tmp_path / "via.json").write_text(json.dumps(project))
    notes = gs.read_labels(tmp_path / "via.json", "via", videos=videos).notes
    assert "via.json: segments without a value of any attribute (1) are not kept" in notes


HEADER = "Observation id,Description,Subject,Behavior,Behavior type,Time,Media file name\n"


def test_observers_of_one_video_have_states_of_their_own(videos: Path, tmp_path: Path) -> None:
    times = {"Ann": (1, 5), "Bob": (2, 4)}
    table = "".join(
        f"{by},,,walk,{kind},{time_s},hen.mp4\n"
        for by, both in times.items()
        for kind, time_s in zip(("START", "STOP"), both, strict=True)
    )
    (tmp_path / "both.csv").write_text(HEADER + table)
    spans, _ = by_name(gs.read_labels(tmp_path / "both.csv", "boris", videos=videos))
    assert spans == {"hen.mp4": [gs.Span(1.0, 5.0, "walk"), gs.Span(2.0, 4.0, "walk")]}


@pytest.mark.parametrize("text", ['"in\nlines"', "a\u2028b", "a\tb", '"a ""b"" c"'])
def test_descriptions_may_have_tabs_and_lines(text: str, videos: Path, tmp_path: Path) -> None:
    lines = [f"one,{text},,walk,{kind},{time_s},hen.mp4\n" for kind, time_s in (("START", 1), ("STOP", 2))]
    (tmp_path / "events.csv").write_text(HEADER + "".join(lines), "utf-8")
    spans, _ = by_name(gs.read_labels(tmp_path / "events.csv", "boris", videos=videos))
    assert spans == {"hen.mp4": [gs.Span(1.0, 2.0, "walk")]}


def test_recordings_in_which_nothing_happens_are_no_validation(videos: Path, tmp_path: Path) -> None:
    blank = [str(shutil.copy(videos / "hen.mp4", tmp_path / name)) for name in ("a.mp4", "b.mp4")]
    found: list[gs.Event | dict[str, str]] = [gs.Event(str(videos / "hen.mp4"), "peck", time_s=1.0)]
    found += [{"video": name, "label": ""} for name in blank]
    gs.write_labels(gs.EventList.of(found), tmp_path / "days.boris", "boris")
    with pytest.raises(ManifestError, match="no class is in 2 of the 3 videos"):
        gs.prepare("boris", tmp_path / "days.boris", tmp_path / "lists", val_share=0.5)


@pytest.mark.parametrize("program", ["boris", "cvat"])
def test_images_are_written_at_the_rate_that_their_list_says(program: Program, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(10):
        Image.new("RGB", (64, 48)).save(tmp_path / "frames" / f"{number:06}.jpg")
    record = {"video": "frames", "fps": 5, "num_frames": 10, "events": [{"frame": 3, "label": "peck"}]}
    (tmp_path / "spot.json").write_text(json.dumps([record]))
    labels = gs.read_labels(tmp_path / "spot.json", "e2e-spot", videos=tmp_path).events
    assert [(event.time_s, event.label) for event in labels.events] == [(0.6, "peck")]
    out = tmp_path / f"out{SUFFIXES[program][0]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateShiftWarning)
        gs.write_labels(tmp_path / "spot.json", out, program, videos=tmp_path)
    again = gs.read_labels(out, program, videos=tmp_path, fps=5).events
    assert [(event.time_s, event.label) for event in again.events] == [(0.6, "peck")]
