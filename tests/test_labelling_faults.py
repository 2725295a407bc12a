"""What is wrong with files of labelling programs is said in one line, whichever part of them is broken."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelling_files import FILES, lay_files, lay_videos

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.labelling.programs import Program
from gateshift.errors import GateShiftError


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, put_video: Callable[[Path, int], Path]) -> Path:
    return lay_videos(tmp_path_factory.mktemp("recordings"), put_video)


# A fault: the program, its file, what is replaced in it by what, and what is said.
FAULTS: dict[str, tuple[Program, str, str, str, str]] = {
    "a missing video": (
        "boris", "days.boris", "hen.mp4", "cow.mp4",
        "days.boris: no video 'days/cow.mp4' in {videos}; put it there, or set --videos to its folder, or leave it "
        "out with --allow-missing",
    ),
    "a label that its file does not define": (
        "boris", "days.boris", '"walk", "", "", 10', '"wlak", "", "", 10',
        "observation 'second day', event 2: 'wlak' is none of the file's own 3 labels (walk, sit, peck); correct it",
    ),
    "a value that is not in ELAN's vocabulary": (
        "elan", "fox.eaf", "<ANNOTATION_VALUE>sit<", "<ANNOTATION_VALUE>sti<",
        "fox.eaf, tier 'behaviour', annotation a2: 'sti' is none of the file's own 2 labels (walk, sit)",
    ),
    "an end before its start": (
        "create-ml", "create_ml.csv", "hen.mp4,walk,1,2.5", "hen.mp4,walk,2.5,1",
        "create_ml.csv, line 4: 'walk' ends at 1 seconds and starts at 2.5; correct it where it was labelled",
    ),
    "a state that never stops": (
        "boris", "days.boris", '[3605.0, "red", "sit", "", "", 50]', '[3605.0, "red", "peck", "", "", 50]',
        "event 4: 'sit' of red starts at 3.000 s and never stops; end it",
    ),
    "an offset that is not that of the video": (
        "boris", "days.boris", '"time offset": 3600.0', '"time offset": 3602.0',
        "observation 'second day', event 1: 'peck' is at -1.700 s, before its video begins; correct the time, or",
    ),
    "no offset, where times have one": (
        "boris", "events.tsv", "\t3600.0\t", "\t0.0\t",
        "events.tsv, line 8: 'peck' is at 3600.300 s, and its video ends at 6.000 s; correct the time or the offset",
    ),
    "frames beyond the end": (
        "cvat", "fox_cvat.xml", 'frame="41"', 'frame="641"',
        "track 2: 'peck' is at 64.100 s, and its video ends at 6.000 s",
    ),
    "another encoding": (
        "via", "via.json", '"pname": "days"', '"pname": "Tagebuch für Hühner"',
        "via.json: not a text file in UTF-8; save it as one",
    ),
    "half a file": ("label-studio", "label_studio.json", "]\n", "", "label_studio.json: broken JSON (Expecting"),
    "half an XML": ("cvat", "fox_cvat.xml", "</annotations>", "", "fox_cvat.xml: broken XML (no element found"),
    "the file of another program": ("elan", "fox_cvat.xml", "1.1", "1.1", "XML of <annotations>; give an annotation"),
    "the smaller export": (
        "label-studio", "label_studio.json", '"annotations"', '"timeline"', "task 7: no annotations; export as JSON",
    ),
    "an option that is not there": (
        "via", "via.json", '"av": {"1": "s"}', '"av": {"1": "x"}', "metadata '1_b': 'x' is none of the file's own",
    ),
    "no time": ("create-ml", "create_ml.json", '"start": 0.5', '"start": "soon"', "entry 1: time 'soon'; it must be a"),
    "frames of television": ("elan", "hen.eaf", '"milliseconds"', '"PAL-frames"', "hen.eaf: its times are PAL-frames"),
    "an unknown state": ("boris", "events.tsv", "\tSTART\t", "\tBEGIN\t", "events.tsv, line 2: 'BEGIN' is none of"),
    "a label of two lines": (
        "elan", "hen.eaf", "<ANNOTATION_VALUE>walk<", "<ANNOTATION_VALUE>walk\nfast<",
        r"'walk\nfast' has a letter that no list of classes can hold; correct it where it was labelled",
    ),
    "a label that is no text": (
        "create-ml", "create_ml.json", '"walk"', r'"w\udce9lk"', r"entry 1: 'w\udce9lk' has a letter that no list",
    ),
    "a state that starts twice": (
        "boris", "events.tsv", "\tSTOP\t2.000\t", "\tSTART\t2.000\t",
        "events.tsv, line 2: 'walk' of red starts at 0.500 s and again at 2.000 s; end it before",
    ),
    "a state that stops before it starts": (
        "boris", "events.tsv", "\tSTART\t0.500\t", "\tSTOP\t0.500\t",
        "events.tsv, line 2: 'walk' of red stops at 0.500 s and never starts; begin it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_exit_code_2(
    fault: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, name, old, new, message = FAULTS[fault]
    (path,) = lay_files(tmp_path, [name])
    text = path.read_bytes().decode("utf-8")
    assert old in text
    path.write_bytes(text.replace(old, new).encode("latin-1" if fault == "another encoding" else "utf-8"))
    with pytest.raises(SystemExit) as stop:
        main(["prepare", program, str(path), "--videos", str(videos), "--out", str(tmp_path / "lists")])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert message.format(videos=videos) in err
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boris", "{}/days.boris"], "4 spans and 3 events are labelled; choose --kind spans or --kind events"),
        (
            ["create-ml", "{}/create_ml.json", "--kind", "events"],
            "no events are labelled in 2 videos; there are spans: leave",
        ),
        (["elan", "{}/hen.eaf", "--kind", "spans"], "no class is in 2 of the 1 videos, one for train and one for val"),
        (["via", "{}/gone.json"], "gone.json: no such file; give one that via wrote"),
        (["via", "{}/via.json", "--pack", "64"], "--pack with via; it is for data sets; leave it out"),
        (["folder", "{}", "--kind", "spans"], "--kind with folder; it is for labelling programs; leave it out"),
        (["folder", "{}", "{}"], "2 folders of folder; give one"),
        (["via"], "ROOT names nothing; name the folder of a data set, or the files of a labelling program"),
        (["via", "{}/via.json", "--fps", "0"], "--fps 0; it must be above 0"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    words: list[str], message: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = [] if words[0] == "folder" else ["--videos", str(videos)]
    with pytest.raises(SystemExit) as stop:
        main(["prepare", *(word.format(FILES) for word in words), *program, "--out", str(tmp_path / "lists")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_two_videos_of_one_name_are_told_apart_by_their_folder(
    put_video: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    for folder in ("a/deep", "b/deep"):
        put_video(tmp_path / folder / "hen.mp4", 60)
        put_video(tmp_path / folder / "fox.mp4", 60)
    with pytest.raises(
        GateShiftError, match=r"create_ml\.json: 2 videos are called fox\.mp4, such as .*a/deep/fox\.mp4"
    ):
        gs.read_labels(FILES / "create_ml.json", "create-ml", videos=tmp_path)
    labels = gs.read_labels(FILES / "create_ml.json", "create-ml", videos=tmp_path / "b")
    assert list(labels.spans) == [str(tmp_path / "b/deep" / name) for name in ("fox.mp4", "hen.mp4")]


def test_of_two_videos_of_one_name_the_folders_in_the_file_say_which(
    put_video: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    for folder in ("2024/first", "2024/second", "."):
        put_video(tmp_path / folder / "fox.mp4", 60)
    path = tmp_path / "labels.json"
    for name, found in (("D:\\\\old\\\\second\\\\fox.mp4", "2024/second/fox.mp4"), ("fox.mp4", "fox.mp4")):
        path.write_text(f'[{{"video": "{name}", "label": "walk", "start": 1, "end": 2}}]')
        assert list(gs.read_labels(path, "create-ml", videos=tmp_path).spans) == [str(tmp_path / found)]
    path.write_text('[{"video": "D:\\\\old\\\\third\\\\fox.mp4", "label": "walk", "start": 1, "end": 2}]')
    with pytest.raises(GateShiftError, match=r"3 videos are called fox\.mp4, such as "):
        gs.read_labels(path, "create-ml", videos=tmp_path)


@pytest.mark.parametrize(
    ("found", "name", "program", "message"),
    [
        ({"hen.mp4": []}, "a.json", "elan", r"`path` .*a\.json; its name must end with \.eaf"),
        ({"hen.mp4": [], "days/fox.mp4": []}, "a.eaf", "elan", "2 videos; a file of `program` elan is of one"),
        ({"cow.mp4": []}, "a.boris", "boris", r"no video 'cow\.mp4' in "),
        ({"hen.mp4": [gs.Span(1, 1.0001, "a")]}, "a.json", "via", "'a' at 1 s lasts less than a millisecond"),
        ({"hen.mp4": [gs.Span(1, 2, "a\nb")]}, "a.eaf", "elan", r"label 'a\\nb' has a letter that no program shows"),
        ({"hen.mp4": [gs.Span(-1, 2, "a")]}, "a.json", "label-studio", "'a' at -1 s; times are seconds from 0"),
        ({"hen.mp4": [gs.Span(60, 70, "a")]}, "a.xml", "cvat", r"'a' at 60 s of hen\.mp4, which ends at 6\.000 s"),
        (
            [gs.Event("hen.mp4", "a", time_s=9.0)],
            "a.json",
            "label-studio",
            r"'a' at 9\.0 s of hen\.mp4, which ends at 6\.000 s",
        ),
        ([gs.Event("hen.mp4", "a", frame=60)], "a.boris", "boris", "'a' at frame 60 of hen.mp4, which has 60"),
        (
            {"days/fox.mp4": [], "b/fox.mp4": []},
            "a.json",
            "via",
            r"2 videos are called fox\.mp4, and a file of `program`",
        ),
        ({"hen.mp4": []}, "a.json", "anvil", "`program` 'anvil'; choose one of boris, elan"),
    ],
)
def test_what_cannot_be_written_is_an_error(
    found: Any, name: str, program: Any, message: str, videos: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateShiftError, match=message):
        gs.write_labels(found, tmp_path / name, program, videos=videos)
    assert list(tmp_path.iterdir()) == []


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, each in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(each, (*path, key))


def put(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = put(node[path[0]], path[1:], value)
    return copy


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(1e400), st.text(max_size=3), st.just([]), st.just({})
)


def read_or_refused(path: Path, program: Program, videos: Path) -> None:
    """Whatever is in a file, it is read, or refused in one line."""
    try:
        gs.read_labels(path, program, videos=videos, allow_missing=True)
    except GateShiftError as error:
        assert re.fullmatch(r".+", str(error))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("boris", "days.boris"),
        ("label-studio", "label_studio.json"),
        ("via", "via.json"),
        ("create-ml", "create_ml.json"),
    ],
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_json_with_anything_in_place_of_anything_is_read_or_refused(
    program: Program, name: str, data: st.DataObject, videos: Path, tmp_path: Path
) -> None:
    content = json.loads((FILES / name).read_text("utf-8"))
    where = data.draw(st.sampled_from(list(places(content))))
    (tmp_path / name).write_text(json.dumps(put(content, where, data.draw(values))), "utf-8")
    read_or_refused(tmp_path / name, program, videos)


@pytest.mark.slow
@pytest.mark.parametrize(("program", "name"), [("elan", "fox.eaf"), ("cvat", "fox_cvat.xml"), ("cvat", "hen_cvat.xml")])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_xml_without_any_part_or_with_another_value_is_read_or_refused(
    program: Program, name: str, data: st.DataObject, videos: Path, tmp_path: Path
) -> None:
    tree = ElementTree.parse(FILES / name)
    element = data.draw(st.sampled_from(list(tree.iter())))
    if element.attrib and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(element.attrib)))
        element.attrib[key] = data.draw(st.sampled_from(["", "x", "-1", "1e9", "nan"]))
    elif len(element) and data.draw(st.booleans()):
        element.remove(data.draw(st.sampled_from(list(element))))
    else:
        element.text = data.draw(st.sampled_from([None, "", "x", "-1"]))
    tree.write(tmp_path / name, encoding="utf-8", xml_declaration=True)
    read_or_refused(tmp_path / name, program, videos)


def test_a_file_that_grows_without_end_is_refused(tmp_path: Path, videos: Path) -> None:
    entities = "".join(f'<!ENTITY e{k} "{10 * f"&e{k - 1};"}">' for k in range(1, 12))
    root = "<ANNOTATION_DOCUMENT>&e11;</ANNOTATION_DOCUMENT>"
    text = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "xxxxxxxxxx">{entities}]>{root}'
    (tmp_path / "bomb.eaf").write_text(text)
    with pytest.raises(GateShiftError, match=r"bomb\.eaf: broken XML"):
        gs.read_labels(tmp_path / "bomb.eaf", "elan", videos=videos)
