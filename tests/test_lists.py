"""Lists of videos, their labels, and what mirrors into what."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gateshift.data.lists.class_pairs import find_mirror_pairs, may_mirror, mirror_map, parse_pairs
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import ManifestError, SettingsError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_gives_paths_beside_it_labels_and_parts(tmp_path: Path) -> None:
    text = "path,label,start,end,note\na.mp4,open,,,x\nsub/b b.mp4,close,1.5,4,\nsub/b b.mp4,open,4,,\n"
    manifest = read_manifest(write(tmp_path / "list.csv", text))
    first, second, third = manifest.entries
    assert (first.video_id, first.path, first.label) == ("a.mp4", tmp_path / "a.mp4", "open")
    assert (second.video_id, second.start_s, second.end_s) == ("sub/b b.mp4#1.5-4", 1.5, 4.0)
    assert (third.video_id, third.start_s, third.end_s) == ("sub/b b.mp4#4-", 4.0, None)
    assert manifest.class_names() == ["close", "open"]
    assert manifest.label_indices(["open", "close"]) == [0, 1, 0]


def test_an_original_list_gives_lengths_and_class_numbers(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "train_videofolder.txt", "a b/1 30 2\n/data/2 7 0\n\n"))
    assert [(e.path, e.num_frames, e.label) for e in manifest.entries] == [
        (tmp_path / "a b/1", 30, 2),
        (Path("/data/2"), 7, 0),
    ]
    assert manifest.class_names() == ["0", "1", "2"]
    assert manifest.label_indices(["2", "1", "0"]) == [0, 2]  # by name, not by place
    write(tmp_path / "classes.txt", "wave\nclap\nnod\n")
    assert manifest.label_indices(["nod", "wave", "clap"]) == [0, 1]


def test_class_folders_are_read_in_order(
    tmp_path: Path, write_folder: Callable, write_video: Callable, counting_frames: Callable
) -> None:
    (tmp_path / "wave").mkdir()
    write_video(tmp_path / "wave" / "2.mp4", counting_frames(3))
    write_folder(tmp_path / "wave" / "1", counting_frames(3))
    (tmp_path / "clap").mkdir()
    write_video(tmp_path / "clap" / "a.webm", counting_frames(3), codec="libvpx-vp9")
    manifest = read_manifest(tmp_path)
    assert [(e.video_id, e.label) for e in manifest.entries] == [
        ("clap/a.webm", "clap"),
        ("wave/1", "wave"),
        ("wave/2.mp4", "wave"),
    ]


def test_relative_paths_start_at_the_root_that_is_given(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "list.csv", "path,label\na.mp4,x\n"), root=tmp_path / "videos")
    assert manifest.entries[0].path == tmp_path / "videos" / "a.mp4"


def test_classes_beside_the_list_set_the_order(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", "wave\nclap\n\n")
    manifest = read_manifest(write(tmp_path / "list.csv", "path,label\na.mp4,clap\n"))
    assert manifest.class_names() == ["wave", "clap"]
    write(tmp_path / "classes.txt", "wave\nwave\n")
    with pytest.raises(ManifestError, match="2 names, 1 different"):
        manifest.class_names()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty, or begins with a blank line; its first line must be path,label, and may name more"),
        ("a.csv", "path,lable\na,b\n", "columns path, lable; its first line must be"),
        ("a.csv", "path,label\n", "lists no videos"),
        ("a.csv", "path,label\na.mp4,\n", "line 2: path 'a.mp4' and label ''; give both"),
        ("a.csv", "path,label,start,end\na.mp4,x,2,1\n", "start 2.0 is not before end 1.0"),
        ("a.csv", "path,label,start,end\na.mp4,x,soon,\n", "time 'soon'; start and end are seconds"),
        ("a.csv", "path,label,start,end\na.mp4,x,-1,\n", "time '-1'"),
        ("a.csv", "path,label\na.mp4,x,1,2\n", "line 2: 4 fields for 2 columns; give each column one"),
        ("a.csv", "path,label\na.mp4\n", "line 2: 1 fields for 2 columns"),
        ("a.txt", "a 3 ²\n", "a line is 'path frames label'"),
        ("a.txt", "a 3\n", "line 1: 'a 3'; a line is 'path frames label'"),
        ("a.txt", "a 0 1\n", "frames from 1"),
        ("a.txt", "a 3 wave\n", "a line is 'path frames label'"),
    ],
)
def test_a_list_that_cannot_be_used_says_where_and_why(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(write(tmp_path / name, text))
    assert name in str(caught.value)


def test_column_names_may_have_spaces_around_them_and_rows_may_end_before_fields_that_are_not_needed(
    tmp_path: Path,
) -> None:
    manifest = read_manifest(write(tmp_path / "a.csv", "path, label ,start,end\na.mp4,x\n\nb.mp4,y,1\n"))
    assert [(entry.path.name, entry.label, entry.start_s, entry.end_s) for entry in manifest.entries] == [
        ("a.mp4", "x", None, None),
        ("b.mp4", "y", 1.0, None),
    ]


def test_a_list_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ManifestError, match="not a text file in UTF-8"):
        read_manifest(tmp_path / "a.csv")
    with pytest.raises(ManifestError, match="no such list; give a CSV"):
        read_manifest(tmp_path / "b.csv")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(ManifestError, match="no class folders with videos"):
        read_manifest(tmp_path / "empty")


def test_labels_that_are_no_class_are_refused_also_class_zeros_neighbours(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "a.csv", "path,label\na.mp4,open\n"))
    with pytest.raises(ManifestError, match=r"label 'open' of a.mp4 is none of the 2 classes \(close, shut\)"):
        manifest.label_indices(["close", "shut"])
    numbers = read_manifest(write(tmp_path / "a.txt", "a 3 2\n"))
    with pytest.raises(ManifestError, match="label 2 of a is none of the 2 classes"):
        numbers.label_indices(["close", "shut"])


def test_missing_files_and_repeated_entries_are_found(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "a.csv", "path,label\na.mp4,x\na.mp4,y\n"))
    with pytest.raises(ManifestError, match="2 of 2 videos are missing, such as .*a.mp4"):
        manifest.check_files()
    with pytest.raises(ManifestError, match=r"a.mp4 is listed twice"):
        manifest.check_unique()


def test_pairs_are_found_by_the_words_for_sides_and_turns() -> None:
    names = [
        "Turn left",
        "turn right",
        "swipe_left",
        "swipe_right",
        "circle_cw",
        "circle_ccw",
        "SpinLeft",
        "SpinRight",
        "roll clockwise",
        "roll anticlockwise",
        "leftover",
        "bright",
        "a",
    ]
    assert find_mirror_pairs(names) == (
        ("Turn left", "turn right"),
        ("swipe_left", "swipe_right"),
        ("circle_ccw", "circle_cw"),
        ("SpinLeft", "SpinRight"),
        ("roll anticlockwise", "roll clockwise"),
    )


def test_something_somethings_three_pairs_are_found() -> None:
    names = [
        "Pulling something from left to right",
        "Pulling something from right to left",
        "Pushing something from left to right",
        "Pushing something from right to left",
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
        "Pretending to turn something upside down",
    ]
    assert find_mirror_pairs(names) == tuple(zip(names[0:6:2], names[1:6:2], strict=True))


def test_the_map_swaps_pairs_and_keeps_the_rest() -> None:
    names = ["left", "up", "right"]
    assert mirror_map(names, (("left", "right"),)).tolist() == [2, 1, 0]


def test_hands_and_turns_are_mirrored_at_once() -> None:
    names = [f"{hand} hand {turn}" for hand in ("left", "right") for turn in ("clockwise", "counterclockwise")]
    assert mirror_map(names, find_mirror_pairs(names)).tolist() == [3, 2, 1, 0]
    assert find_mirror_pairs(["left cw", "right cw"]) == ()  # which are mirrored into what is no class
    lamps = ["turn bright lamp clockwise", "turn bright lamp counterclockwise"]
    assert find_mirror_pairs(lamps) == (tuple(lamps),)
    three = ["turn anticlockwise", "turn clockwise", "turn counterclockwise"]
    assert find_mirror_pairs(three) == (("turn clockwise", "turn counterclockwise"),)
    assert may_mirror(three, find_mirror_pairs(three), "all").tolist() == [False, True, True]


@pytest.mark.slow
@given(
    st.lists(st.lists(st.sampled_from(("left", "right", "cw", "ccw", "clockwise", "anticlockwise", "a")), max_size=3))
)
def test_a_mirror_image_of_a_mirror_image_is_the_class(words: list[list[str]]) -> None:
    names = sorted({" ".join(each) or "none" for each in words})
    mapped = mirror_map(names, find_mirror_pairs(names))
    assert mapped[mapped].tolist() == list(range(len(names)))


def test_a_class_folder_of_images_is_no_class(
    tmp_path: Path, write_folder: Callable, counting_frames: Callable
) -> None:
    write_folder(tmp_path / "clips" / "open", counting_frames(3))
    with pytest.raises(ManifestError, match=r"open: holds images, as a video does; .* put it in a class folder"):
        read_manifest(tmp_path / "clips")


def test_a_side_without_counterpart_is_never_mirrored() -> None:
    names = ["left", "right", "MoveLeftwards", "wave"]
    pairs = (("left", "right"),)
    assert may_mirror(names, pairs, "all").tolist() == [True, True, False, True]
    assert may_mirror(names, pairs, "pairs").tolist() == [True, True, False, False]
    assert not may_mirror(names, pairs, "none").any()
    assert may_mirror(names, pairs, "all").dtype == torch.bool
    assert not may_mirror(["0", "1"], (), "all").any()  # who knows what they name


def test_pairs_can_be_given_and_are_checked() -> None:
    assert parse_pairs(["west = east"], ["west", "east"], kind="mirror") == (("west", "east"),)
    for wrong in ("west", "west=north", "west=west"):
        with pytest.raises(SettingsError, match=f"mirror pair '{wrong}'; give two different classes"):
            parse_pairs([wrong], ["west", "east"], kind="mirror")
    with pytest.raises(SettingsError, match="one of the two is in another pair"):
        parse_pairs(["a=b", "a=c"], ["a", "b", "c"], kind="mirror")


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    text = "path,label\n" + "".join(f"{number}.mp4,{number}\n" for number in (10, 9, 0))
    assert read_manifest(write(tmp_path / "a.csv", text)).class_names() == ["0", "9", "10"]


def test_mirror_pairs_are_those_of_the_file_beside_the_list_or_of_the_names(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "list.csv", "path,label\na.mp4,x\n"))
    classes = ["left", "right", "east, far", "west"]
    assert manifest.mirror_pairs(classes) == (("left", "right"),)
    write(tmp_path / "mirror_pairs.csv", 'class,mirrored\r\n"east, far",west\r\n\r\n')
    assert manifest.mirror_pairs(classes) == (("east, far", "west"),)
    write(tmp_path / "mirror_pairs.csv", "class,mirrored\n")
    assert manifest.mirror_pairs(classes) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must be class,mirrored"),
        ("left,right\n", "its first line must be class,mirrored"),
        ("class,mirrored\nleft,north\n", "line 2: 'north' is none of the 4 classes"),
        ("class,mirrored\nleft,\n", "line 2: '' is none of the 4 classes"),
        ("class,mirrored\nleft\n", "line 2: 1 fields for 2 columns"),
        ("class,mirrored\nleft,left\n", "line 2: 'left' is in two pairs"),
        ("class,mirrored\nleft,right\neast,left\n", "line 3: 'left' is in two pairs"),
    ],
)
def test_mirror_pairs_that_cannot_be_used_say_where_and_why(text: str, message: str, tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "list.csv", "path,label\na.mp4,x\n"))
    write(tmp_path / "mirror_pairs.csv", text)
    with pytest.raises(ManifestError, match=message) as caught:
        manifest.mirror_pairs(["left", "right", "east", "west"])
    assert "mirror_pairs.csv" in str(caught.value)


def test_videos_are_left_out_by_their_listed_or_absolute_path_and_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "a.mp4,x,0,1\na.mp4,x,1,2\nb.mp4,y,,\nc.mp4,z,,\n"
    manifest = read_manifest(write(Path("list.csv"), f"path,label,start,end\n{rows}"))

    def left(*names: object) -> list[str]:
        return [entry.video_id for entry in manifest.without({str(name) for name in names}).entries]

    assert left("a.mp4") == left(tmp_path / "a.mp4") == ["b.mp4", "c.mp4"]
    assert left("a.mp4#1-2") == left(f"{tmp_path}/a.mp4#1-2") == ["a.mp4#0-1", "b.mp4", "c.mp4"]
    assert left("b.mp4", "elsewhere/c.mp4") == ["a.mp4#0-1", "a.mp4#1-2", "c.mp4"]
    fewer = manifest.without({"b.mp4"})
    assert fewer.class_names() == ["x", "y", "z"]
    assert fewer.label_indices(["x", "y", "z"]) == [0, 0, 2]
    assert [entry.start_s for entry in fewer.entries] == [0, 1, None]
