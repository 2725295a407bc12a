"""Files of events: each format is read, told apart by what it holds, and written back with the same content."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_files import EXCERPTS, NO_WHOLE, WHOLE

import gateshift as gs
from gateshift.data.events.events import VideoInfo
from gateshift.data.events.videos import base_of, find_named, recording_part
from gateshift.errors import ManifestError, SettingsError

GAME: dict[str, Any] = {
    "UrlLocal": "league/2016-2017/one - two/",
    "gameScore": [1, 0],
    "annotations": [
        {
            "gameTime": "1 - 00:31",
            "label": "Ball out of play",
            "position": "31000",
            "team": "away",
            "visibility": "visible",
        },
        {"gameTime": "2 - 12:34", "label": "Goal", "position": "754123", "team": "home", "visibility": "not shown"},
    ],
}
RESULTS: dict[str, Any] = {
    "UrlLocal": "league/2016-2017/one - two/",
    "predictions": [
        {"gameTime": "1 - 00:31", "label": "Goal", "position": "31020", "half": "1", "confidence": "0.87"},
        {"gameTime": "2 - 12:34", "label": "Goal", "position": 754000, "half": "2", "confidence": 0.5},
    ],
}
NUMBERS = ("time_s", "score")
BARE = {"annotations": GAME["annotations"]}
TABLE = """path,frame,time_s,label,score,box
a.mp4,10,0.4,bounce,0.9,left
b.mp4,,3.25,"swing, far",,
a.mp4,12,,serve,0.5,
empty.mp4,,,,,right
"""


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def content_of(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(text) if name in ("time_s", "score") and text else text for name, text in row.items()}
        for row in rows
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", [*EXCERPTS, *WHOLE], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_published_file_of_e2e_spot_comes_back_as_it_was(path: Path, tmp_path: Path) -> None:
    listed = gs.read_events(path)
    gs.write_events(listed, tmp_path / "again.json")
    assert content_of(tmp_path / "again.json") == content_of(path)


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason=NO_WHOLE)
def test_the_published_files_have_the_numbers_of_videos_and_events_that_they_are_known_for() -> None:
    found = {f"{path.parent.name}/{path.stem}": gs.read_events(path) for path in WHOLE}
    counts = {name: (len(listed.videos), len(listed)) for name, listed in found.items()}
    assert counts.items() >= {
        "tennis/train": (1368, 10976), "tennis/val": (455, 3642), "tennis/test": (1622, 19173),
        "fs_comp/train": (178, 1764), "fs_comp/val": (59, 584), "fs_comp/test": (134, 1326),
        "fs_perf/train": (183, 1812), "fs_perf/val": (94, 932), "fs_perf/test": (94, 930),
        "finediving/val": (450, 1063),
    }.items()  # fmt: skip
    for name, listed in found.items():
        lines = (WHOLE[0].parent.parent / name.split("/")[0] / "class.txt").read_text().splitlines()
        assert set(listed.labels()) <= set(lines)


def test_a_rate_of_minus_one_is_not_known() -> None:
    rates = {path.stem: {info.fps for info in gs.read_events(path).videos.values()} for path in EXCERPTS}
    assert rates == {"finediving": {None}, "tennis": {25, 30000 / 1001}, "figure_skating": {25}}


def test_names_say_which_frames_of_a_recording_a_video_is() -> None:
    for path in EXCERPTS:
        for name, info in gs.read_events(path).videos.items():
            part = recording_part(name, info)
            assert (part is None) == (path.stem == "finediving")
            assert part is None or (len(part[1]) == info.num_frames and name.startswith(part[0]))
    assert recording_part("final_10_20", VideoInfo(num_frames=11)) is None
    assert recording_part("final_10_20", VideoInfo()) is None


@pytest.mark.parametrize("content", [GAME, RESULTS, BARE], ids=["labels", "results", "bare"])
def test_a_file_of_soccernet_comes_back_as_it_was(content: dict[str, Any], tmp_path: Path) -> None:
    path = put(tmp_path / "Labels-v2.json", content)
    gs.write_events(gs.read_events(path), tmp_path / "again.json")
    assert content_of(tmp_path / "again.json") == content


def test_the_halves_of_a_game_are_its_videos_and_positions_are_milliseconds(tmp_path: Path) -> None:
    listed = gs.read_events(put(tmp_path / "results_spotting.json", RESULTS))
    game = "league/2016-2017/one - two"
    assert [(each.video, each.time_s, each.score) for each in listed.events] == [
        (f"{game}/1", 31.02, 0.87), (f"{game}/2", 754.0, 0.5),
    ]  # fmt: skip
    assert list(gs.read_events(put(tmp_path / "bare.json", BARE)).videos) == ["1", "2"]


def test_a_folder_of_games_is_read_as_one(tmp_path: Path) -> None:
    for game in ("a", "b/c"):
        put(tmp_path / game / "Labels-v2.json", GAME)
    listed = gs.read_events(tmp_path)
    assert list(listed.videos) == ["a/1", "a/2", "b/c/1", "b/c/2"]
    put(tmp_path / "a" / "Labels-ball.json", GAME)
    with pytest.raises(ManifestError, match=r"Labels-ball\.json and Labels-v2\.json are both there"):
        gs.read_events(tmp_path)


def test_a_table_comes_back_as_it_was_with_columns_of_its_own(tmp_path: Path) -> None:
    path = put(tmp_path / "events.csv", TABLE)
    listed = gs.read_events(path)
    assert [(each.video, each.frame, each.time_s, each.label, each.score) for each in listed.events] == [
        ("a.mp4", 10, 0.4, "bounce", 0.9), ("b.mp4", None, 3.25, "swing, far", None), ("a.mp4", 12, None, "serve", 0.5),
    ]  # fmt: skip
    assert list(listed.videos) == ["a.mp4", "b.mp4", "empty.mp4"]
    assert [len(each) for each in listed.by_video().values()] == [2, 1, 0]
    gs.write_events(listed, tmp_path / "again.csv")
    assert content_of(tmp_path / "again.csv") == content_of(path)


@pytest.mark.parametrize(
    "table",
    ["path,time_s,label\n", "path,time_s,label\na.mp4,1.5,bounce\n", "path,frame,label\na.mp4,3,bounce\nb.mp4,,\n"],
)
def test_the_simplest_tables_come_back_to_the_byte(table: str, tmp_path: Path) -> None:
    gs.write_events(put(tmp_path / "events.csv", table), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == table


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Cs"]), min_size=1, max_size=4)
events = st.builds(
    gs.Event,
    video=names,
    label=names,
    frame=st.integers(0, 10**6),
    time_s=st.integers(0, 10**7).map(lambda ms: ms / 1000),
    score=st.floats(0, 1),
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(events, max_size=8), st.sampled_from([".csv", ".json"]))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, found: list[gs.Event], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("events") / f"events{suffix}"
    gs.write_events(found, path)
    read = gs.read_events(path)
    assert read.by_video() == gs.EventList.of(found).by_video()


def test_numbers_that_are_texts_are_numbers(tmp_path: Path) -> None:
    video = {"video": "v", "fps": "29.97", "num_frames": "9", "events": [{"frame": "3", "label": "hit"}]}
    listed = gs.read_events(put(tmp_path / "train.json", [video]))
    assert (listed.videos["v"].fps, listed.videos["v"].num_frames, listed.events[0].frame) == (29.97, 9, 3)


def test_a_table_gets_columns_for_what_it_did_not_have(tmp_path: Path) -> None:
    listed = gs.read_events(put(tmp_path / "events.csv", "path,frame,label,note\na.mp4,3,bounce,near\nb.mp4,,,dark\n"))
    scored = [replace(event, time_s=0.12, score=0.5) for event in listed.events]
    gs.write_events(replace(listed, events=tuple(scored)), tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text() == (
        "path,frame,label,note,time_s,score\na.mp4,3,bounce,near,0.12,0.5\nb.mp4,,,dark,,\n"
    )


def test_answers_change_from_one_format_to_another_and_back(tmp_path: Path) -> None:
    path = put(tmp_path / "results.json", RESULTS)
    gs.write_events(path, tmp_path / "table.csv")
    gs.write_events(tmp_path / "table.csv", tmp_path / "spot.json")
    gs.write_events(tmp_path / "spot.json", tmp_path / "game.json", form="soccernet")
    expected = [
        {**each, "position": str(each["position"]), "confidence": str(each["confidence"])}
        for each in RESULTS["predictions"]
    ]
    assert content_of(tmp_path / "game.json") == {**RESULTS, "predictions": expected}


def test_the_format_is_told_by_what_a_file_holds_and_not_by_its_name(tmp_path: Path) -> None:
    assert gs.read_events(put(tmp_path / "a.txt", GAME)).form == "soccernet"
    assert gs.read_events(put(tmp_path / "b.csv", EXCERPTS[0].read_text())).form == "e2e-spot"
    assert gs.read_events(put(tmp_path / "c.json", "path,frame,label\n")).form == "csv"
    assert len(gs.read_events(put(tmp_path / "d.json", "[]"))) == 0


def test_subtitles_show_each_event_for_a_second_in_order_of_time(tmp_path: Path) -> None:
    found = [gs.Event("v", "hit <a>", time_s=2.5, score=0.5), gs.Event("v", "miss", frame=3, time_s=0.12)]
    gs.write_events(found, tmp_path / "events.srt")
    assert (tmp_path / "events.srt").read_text() == (
        "1\n00:00:00,120 --> 00:00:01,120\nmiss\n\n2\n00:00:02,500 --> 00:00:03,500\nhit <a> (0.50)\n"
    )
    gs.write_events(found, tmp_path / "events.vtt")
    assert "00:00:02.500 --> 00:00:03.500\nhit &lt;a&gt; (0.50)\n" in (tmp_path / "events.vtt").read_text()


@pytest.mark.parametrize(
    ("found", "name", "message"),
    [
        (
            [gs.Event("a", "x", time_s=1), gs.Event("b", "x", time_s=1)],
            "e.srt",
            "events of 2 videos; subtitles are of one",
        ),
        ([gs.Event("a", "x", frame=1)], "e.vtt", "events without a time; subtitles need `time_s`"),
        ([gs.Event("a", "x", frame=1)], "e.txt", "its name must end with .csv or .json or .srt or .vtt"),
    ],
)
def test_what_cannot_be_written_is_an_error(found: list[gs.Event], name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        gs.write_events(found, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([gs.Event("a", "x", time_s=1), gs.Event("b", "x", time_s=1)], "videos of 2 games, such as a and b"),
        ([gs.Event("a/1", "x", frame=1)], "'x' of a/1 at frame 1; SoccerNet wants times"),
    ],
)
def test_what_soccernet_cannot_hold_is_an_error(found: list[gs.Event], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        gs.write_events(found, tmp_path / "e.json", form="soccernet")


VIDEO = {"video": "v", "num_frames": 9, "events": [{"frame": 3, "label": "hit"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na,b\n", "line 2: columns path, label; add time_s or frame"),
        ("video,frame,label\na,1,b\n", "columns video, frame, label; its first line must be path,label"),
        ("path,frame,label\na,1.5,b\n", "line 2: frame '1.5'; frames are whole numbers from 0"),
        ("path,frame,label\na,-1,b\n", "frame '-1'"),
        ("path,time_s,label\na,soon,b\n", "line 2: time_s 'soon'; it must be a number"),
        ("path,time_s,label\na,nan,b\n", "time_s 'nan'; it must be a number"),
        ("path,time_s,label\na,-0.5,b\n", "time_s -0.5; times are seconds from 0"),
        ("path,time_s,label\na,,b\n", "'b' has neither frame nor time_s"),
        ("path,time_s,label\na,1,\n", "an event without a label"),
        ("path,time_s,label\n ,1,b\n", "no path; name the video"),
        ("path,time_s,label\na,1,b\na,,\n", "line 3: no label, but a has events on other lines"),
        ("path,frame,label,score\na,1,b,high\n", "score 'high'; it must be a number"),
        ("[{", "broken JSON"),
        pytest.param(f"[{'9' * 5000}]", "broken JSON (Exceeds the limit", id="a number that is too long"),
        ({"events": []}, "a JSON object of events; give E2E-Spot's list of videos, or SoccerNet's"),
        ([{"video": "v"}], "video 1: {'video': 'v'}; each needs video and events"),
        ([VIDEO, VIDEO], "video 2: v is listed twice"),
        ([{**VIDEO, "num_events": 2}], "v has 1 events, and num_events says another number"),
        ([{**VIDEO, "events": [{"frame": 9, "label": "hit"}]}], "frame 9 of v, which has 9"),
        ([{**VIDEO, "events": [{"frame": 1}]}], "event 1: label None; it must be the name of a class"),
        ([{**VIDEO, "events": [{"frame": True, "label": "hit"}]}], "frame True; it must be a number"),
        ([{**VIDEO, "events": ["hit"]}], "event 1: 'hit'; it needs frame and label"),
        ([{**VIDEO, "num_frames": "many"}], "video 1: num_frames 'many'; it must be a number"),
        ([{**VIDEO, "fps": [25]}], "video 1: fps [25]; it must be a number"),
        (b"path,time_s,label\na,1,caf\xe9\n", r"line 2: label 'caf\udce9' is not in UTF-8; save the file as UTF-8"),
        ("path,time_s,label\na,1,b\n".encode("utf-16"), "not a text file in UTF-8; save it as one"),
        ({"annotations": [{"label": "Goal"}]}, "event 1: {'label': 'Goal'}; it needs label and position"),
        ({"annotations": {}}, "'annotations' is no list of events"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    path = put(tmp_path / "events.file", content)
    with pytest.raises(ManifestError) as caught:
        gs.read_events(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([{"video": "v", "frame": 1}], "event 1: {'video': 'v', 'frame': 1}; give it video, label"),
        ([("v", 1, "hit")], "event 1: ('v', 1, 'hit'); give dicts of video"),
        ([{"video": "v", "label": "hit"}], "event 1: 'hit' has neither frame nor time_s"),
        ([{"video": "v", "label": "hit", "frame": 10**400}], "it must be a number; correct it"),
    ],
)
def test_what_is_wrong_with_dicts_is_said_in_one_line(given_: Any, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        gs.read_events(given_)
    assert message in str(caught.value)


def test_an_event_without_frame_and_time_is_an_error() -> None:
    with pytest.raises(ManifestError, match="'hit' of v has neither frame nor time_s; give one of them"):
        gs.Event("v", "hit")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no\.csv: no such file of events"):
        gs.read_events(tmp_path / "no.csv")
    with pytest.raises(ManifestError, match=r"no Labels-v2\.json or .* in it"):
        gs.read_events(tmp_path)


def test_spans_come_back_as_they_were(tmp_path: Path) -> None:
    table = "path,label,start,end\na.mp4,walk,2.98,6.19\na.mp4,sit,6.19,8.0\nempty.mp4,,,\n"
    spans = gs.read_spans(put(tmp_path / "spans.csv", table))
    assert spans == {"a.mp4": [gs.Span(2.98, 6.19, "walk"), gs.Span(6.19, 8.0, "sit")], "empty.mp4": []}
    gs.write_spans(spans, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == table


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,walk,3,2", "start '3' and end '2'; they must be seconds from 0"),
        ("a,walk,,2", "start '' and end '2'"),
        (",walk,1,2", "no path"),
        ("a,,1,2", "line 2: a span without a label; name its class, or leave its times empty too"),
        ("a,,,2", "line 2: a span without a label"),
        ("a,walk,1", "3 fields for 4 columns"),
    ],
)
def test_what_is_wrong_with_spans_is_said_in_one_line(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message):
        gs.read_spans(put(tmp_path / "spans.csv", f"path,label,start,end\n{row}\n"))


@pytest.mark.parametrize(
    ("name", "files", "wanted"),
    [
        ("a.mp4", ["a.mp4", "a.mp4.mkv"], ["a.mp4"]),
        ("v [1]", ["v [1].mkv", "v 1.mkv", "v [1].json"], ["v [1].mkv"]),
        ("frames", ["frames/000000.jpg"], ["frames"]),
        ("league/game/1", ["league/game/1_224p.mkv", "league/game/1_720p.mkv", "league/game/2_720p.mkv"],
         ["league/game/1_720p.mkv", "league/game/1_224p.mkv"]),
        ("league/game/2", ["1_720p.mkv", "2_720p.mkv"], ["2_720p.mkv"]),
        ("game/1", ["game/720p.mp4", "game/Labels-ball.json"], ["game/720p.mp4"]),
        ("game/2", ["game/720p.mp4"], []),
        ("gone.mp4", ["a.mp4"], []),
    ],
)  # fmt: skip
def test_the_video_of_a_name_is_found(name: str, files: list[str], wanted: list[str], tmp_path: Path) -> None:
    for file in files:
        put(tmp_path / file, "")
    assert [path.relative_to(tmp_path).as_posix() for path in find_named(tmp_path, name)] == wanted


def test_names_of_videos_start_in_the_folder_of_their_list_or_in_the_list_that_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "list.csv", "")
    assert [base_of(source, None) for source in (tmp_path / "list.csv", tmp_path, None)] == [tmp_path, tmp_path, Path()]
    assert base_of(tmp_path / "list.csv", str(tmp_path / "videos")) == tmp_path / "videos"
