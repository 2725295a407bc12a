"""The annotation files of published data sets, in their own formats; no video is looked for."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_data import (
    ANNOTATIONS,
    LABELS,
    NAMES,
    V1,
    class_names,
    lay,
    lay_diving48,
    lay_kinetics,
    lay_something_v1,
    lay_something_v2,
    listing,
    no_video,
    replace,
    rows,
    run,
)

from gateshift.data.lists.manifest import read_manifest
from gateshift.data.prepare.annotations import Listing
from gateshift.data.prepare.formats import read_annotations
from gateshift.data.prepare.settings import PrepareSettings
from gateshift.errors import ManifestError, SettingsError

SHARED = Path(__file__).parent.parent.parent / "shared" / "annotations"


def labels(found: Listing, split: str = "train") -> list[tuple[str, str]]:
    return [(item.id, item.label) for item in found.items if item.split == split]


def test_something_v1_has_sorted_classes(tmp_path: Path) -> None:
    found = listing("something-v1", lay_something_v1(tmp_path))
    assert labels(found) == [("100218", "Holding something"), ("24413", "Turning something upside down")]
    assert list(found.classes) == NAMES  # released models number them so


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_v2_is_listed_by_template_in_official_order(prefix: str, tmp_path: Path) -> None:
    found = listing("something-v2", lay_something_v2(tmp_path, no_video, prefix))
    assert labels(found) == [
        ("78687", "Holding something next to something"),
        ("42326", "Spreading something onto something"),
    ]
    assert labels(found, "val")[1] == ("36585", "Something falling like a feather or paper")
    assert list(found.classes) == NAMES


def test_jester_is_listed_like_something_v1(tmp_path: Path) -> None:
    found = listing("jester", lay("jester", tmp_path, no_video))
    assert labels(found) == [("100218", "Swiping Left"), ("24413", "Swiping Right")]
    assert len(found.classes) == 27
    assert list(found.classes) == sorted(found.classes)


def test_diving48_has_the_order_of_its_vocabulary(tmp_path: Path) -> None:
    found = listing("diving48", lay_diving48(tmp_path, no_video))
    assert labels(found) == [
        ("-mmq0PT-u8k_00000_train", "Back+15som+05Twis+FREE"),
        ("-mmq0PT-u8k_00001_train", "Back+15som+NoTwis+PIKE"),
    ]
    assert list(found.classes) == (LABELS / "diving48.txt").read_text().splitlines()
    assert labels(found, "val")[0][1] == found.classes[47]


def test_the_edition_of_diving48_is_asked_for_where_both_are_there(tmp_path: Path) -> None:
    lay_diving48(tmp_path, no_video, edition="")
    listing("diving48", tmp_path)
    lay_diving48(tmp_path, no_video)
    entry = json.loads((tmp_path / "Diving48_train.json").read_text())[0] | {"label": 5}
    (tmp_path / "Diving48_train.json").write_text(json.dumps([entry]))
    with pytest.raises(ManifestError, match="set `edition` to v1 or v2"):
        listing("diving48", tmp_path)
    for edition, number in (("v1", 5), ("v2", 0)):
        found = listing("diving48", tmp_path, edition=edition)
        assert labels(found)[0][1] == found.classes[number]


def test_kinetics_lists_have_many_names_and_may_lie_elsewhere(tmp_path: Path) -> None:
    root, notes = tmp_path / "data", tmp_path / "notes"
    root.mkdir()
    notes.mkdir()
    lay_kinetics(root, no_video)
    (root / "train.csv").rename(notes / "kinetics-400_train.csv")
    (notes / "._kinetics-400_train.csv").write_bytes(b"\0")  # as macOS leaves them
    (root / "val.csv").rename(notes / "kinetics-400_val.csv")
    with pytest.raises(ManifestError, match=r"data: no annotation file train.csv or \*train.csv is there"):
        listing("kinetics", root)
    found = listing("kinetics", root, annotations=notes)
    assert found.classes == ("air drumming", "cooking, on campfire")
    assert len(labels(found, "val")) == 2
    shutil.copy(notes / "kinetics-400_val.csv", notes / "kinetics-600_val.csv")
    with pytest.raises(ManifestError, match=r"kinetics-400_val.csv and kinetics-600_val.csv are both there"):
        listing("kinetics", root, annotations=notes)


@pytest.mark.parametrize(
    ("task", "train", "classes"),
    [
        ("verb", ["take", "put", "take"], ("take", "put")),
        ("noun", ["cup", "tap", "cup"], ("tap", "cup", "jug")),
        ("action", ["take cup", "put tap", "take cup"], ("take tap", "take cup", "put tap")),
    ],
)
def test_epic_kitchens_segments_have_times_and_official_classes(
    task: str, train: list[str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    found = listing("epic-kitchens-100", lay("epic-kitchens-100", tmp_path, no_video), task=task)
    assert [label for _, label in labels(found)] == train
    assert found.classes == classes
    times = [(item.start_s, item.end_s) for item in found.items]
    assert times == [(0.0, 1.89), (1.56, 2.45), (1.0, 2.0), (0.5, 7.0), (0.5, 1.0)]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "epic100").is_dir(), reason="the EPIC-KITCHENS-100 annotations are not here")
@pytest.mark.parametrize(("task", "num_classes"), [("verb", 97), ("noun", 300), ("action", 1352)])
def test_the_official_epic_kitchens_files_are_read_whole(task: str, num_classes: int, tmp_path: Path) -> None:
    for name in ("verb_classes", "noun_classes", "validation"):
        shutil.copy(SHARED / "epic100" / f"EPIC_100_{name}.csv", tmp_path)
    lines = (tmp_path / "EPIC_100_validation.csv").read_text().splitlines(keepends=True)
    (tmp_path / "EPIC_100_train.csv").write_text(lines[0] + "t" + lines[1])
    found = listing("epic-kitchens-100", tmp_path, task=task)
    assert len(found.classes) == num_classes
    val = [item for item in found.items if item.split == "val"]
    assert len(val) == 9668
    assert (val[0].id, val[0].start_s, val[0].end_s) == ("P01_11_0", 0.0, 1.89)
    assert val[0].label == {"verb": "take", "noun": "plate", "action": "take plate"}[task]


def test_options_are_for_one_data_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="three kinds of classes; set `task` to verb, noun or action"):
        read_annotations(PrepareSettings("epic-kitchens-100", (tmp_path,), tmp_path))
    for dataset, options, message in (
        ("kinetics", {"task": "verb"}, "`task` verb with kinetics; it is only for epic-kitchens-100"),
        ("kinetics", {"edition": "v1"}, "`edition` v1 with kinetics; it is only for diving48"),
        ("jester", {"group_pattern": "P"}, "`group_pattern` P with jester; it is only for folder"),
        ("kinetic", {}, "`dataset` 'kinetic'; choose one of something-v1, "),
        ("diving48", {"edition": "v3"}, "`edition` 'v3'; choose one of v1, v2"),
    ):
        with pytest.raises(SettingsError, match=message):
            PrepareSettings(dataset, (tmp_path,), tmp_path, **options).check()  # type: ignore[arg-type]


# --- faults -----------------------------------------------------------------------------------------------


# The data set, the file, what is replaced in it by what, and what is said of it.
FAULTS = [
    (
        "something-v1",
        f"{V1}-train.csv",
        ("Holding", "Hodling"),
        "line 1: class 'Hodling something' of video 100218 is none of the 174 classes, such as 'Hold",
    ),
    ("something-v1", f"{V1}-train.csv", ("24413", "100218"), "line 2: video 100218 is listed twice"),
    ("something-v1", f"{V1}-validation.csv", ("74225", "24413"), "line 1: video 24413 is listed in the training list"),
    ("something-v1", f"{V1}-train.csv", ("100218;", "100218,"), "a line is 'id;class name'"),
    ("something-v1", f"{V1}-train.csv", ("24413", "../24413"), "'../24413' cannot be the name of a video"),
    (
        "something-v1",
        f"{V1}-labels.csv",
        ("Closing something", "Opening something"),
        "a class is called 'Opening something', 2 times",
    ),
    (
        "something-v2",
        "train.json",
        ("Spreading", "Sprading"),
        "entry 2: class 'Sprading something onto something' of video 42326",
    ),
    ("something-v2", "train.json", ("42326", "78687"), "entry 2: video 78687 is listed twice"),
    ("something-v2", "validation.json", ("74225", "78687"), "video 78687 is listed in the training list too"),
    ("something-v2", "train.json", ("]}]", ""), "train.json: broken JSON"),
    ("something-v2", "labels.json", ('"0"', '"174"'), "174 classes, but none has number 0"),
    ("something-v2", "validation.json", ("template", "plate"), "has no text or number 'template'"),
    ("jester", "jester-v1-train.csv", ("Swiping Left", "Sweeping Left"), "such as 'Swiping Left'"),
    (
        "diving48",
        "Diving48_V2_test.json",
        ("47", "48"),
        "class '48' of video -mmq0PT-u8k_00000_test is none of the 48 classes",
    ),
    ("diving48", "Diving48_V2_test.json", ("000_test", "000_train"), "is listed in the training list too"),
    (
        "kinetics",
        "val.csv",
        ("air drumming,Dd", "air druming,Dd"),
        "line 2: class 'air druming' of video Ddefghijklm_000003_000013 is none of the 2",
    ),
    (
        "kinetics",
        "val.csv",
        ("Eefghijklmn", "Ddefghijklm"),
        "line 3: video Ddefghijklm_000003_000013 is listed twice",
    ),
    (
        "kinetics",
        "train.csv",
        ("youtube_id", "id"),
        "its first line must be label,youtube_id,time_start,time_end, and may name more; give the data set's own file",
    ),
    ("kinetics", "train.csv", (",20,30", ",20,soon"), "line 3: times '20' to 'soon'"),
    ("kinetics", "train.csv", ('"cooking, on campfire"', "cooking, on campfire"), "line 3: 6 fields for 5 columns"),
    (
        "epic-kitchens-100",
        "EPIC_100_train.csv",
        ("grab,1,", "grab,7,"),
        "verb_class '7' of P01_01_1 is none of the 2 classes",
    ),
    ("epic-kitchens-100", "EPIC_100_train.csv", ("P01_01_1", "P01_01_0"), "line 3: video P01_01_0 is listed twice"),
    (
        "epic-kitchens-100",
        "EPIC_100_train.csv",
        ("02.45", "00.45"),
        "line 3: from '00:00:01.56' to '00:00:00.45'",
    ),
]


@pytest.mark.parametrize(("dataset", "name", "change", "message"), FAULTS)
def test_a_fault_in_an_annotation_is_one_line_that_says_where(
    dataset: str, name: str, change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    lay(dataset, tmp_path, no_video)
    replace(tmp_path / name, *change)
    with pytest.raises(ManifestError) as fault:
        listing(dataset, tmp_path)
    said = str(fault.value)
    assert said.startswith(str(tmp_path / name))
    assert message in said and "\n" not in said


def test_a_fault_is_one_line_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_something_v1(tmp_path)
    replace(tmp_path / f"{V1}-train.csv", "24413", "100218")
    assert run("something-v1", tmp_path, "--out", tmp_path / "lists") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gateshift: {tmp_path / V1}-train.csv, line 2: ")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("dataset", ANNOTATIONS)
def test_an_annotation_file_that_is_empty_or_missing_is_named(dataset: str, tmp_path: Path) -> None:
    lay(dataset, tmp_path, no_video)
    for name in ANNOTATIONS[dataset]:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"\n")
        with pytest.raises(ManifestError) as empty:
            listing(dataset, tmp_path)
        assert str(empty.value).startswith(f"{tmp_path / name}: is empty")
        (tmp_path / name).unlink()
        with pytest.raises(ManifestError) as missing:
            listing(dataset, tmp_path)
        assert str(missing.value).startswith(f"{tmp_path}: no annotation file ")
        assert name in str(missing.value)
        (tmp_path / name).write_bytes(whole)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no: no such folder"):
        listing("kinetics", tmp_path / "no")
    with pytest.raises(ManifestError, match="no: no such folder"):
        listing("kinetics", tmp_path, annotations=tmp_path / "no")


@pytest.mark.parametrize("dataset", ANNOTATIONS)
def test_windows_line_ends_byte_order_marks_and_trailing_spaces_change_nothing(dataset: str, tmp_path: Path) -> None:
    plain = listing(dataset, lay(dataset, tmp_path, no_video))
    for name in ANNOTATIONS[dataset]:
        text = (tmp_path / name).read_text()
        end = " \r\n" if name.endswith("csv") else "\r\n"
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode() + b"\r\n")
    assert dataclasses.asdict(listing(dataset, tmp_path)) == dataclasses.asdict(plain)


def test_a_class_name_may_hold_semicolons_commas_and_quotes(tmp_path: Path) -> None:
    lay_something_v1(tmp_path)
    for name in ANNOTATIONS["something-v1"]:
        path = tmp_path / name
        path.write_text(path.read_text().replace("Holding something", 'Holding; "something", or not'))
    out = tmp_path / "lists"
    assert run("something-v1", tmp_path, "--out", out) == 0
    manifest = read_manifest(out / "train.csv")
    assert manifest.entries[0].label == 'Holding; "something", or not'
    assert manifest.label_indices(manifest.class_names())[0] == class_names(out).index('Holding; "something", or not')


def test_both_something_somethings_have_the_same_classes_and_pairs_though_their_files_differ(
    tmp_path: Path, put_video: Callable
) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    assert run("something-v1", lay_something_v1(tmp_path / "v1"), "--out", tmp_path / "a") == 0
    assert run("something-v2", lay_something_v2(tmp_path / "v2", put_video), "--out", tmp_path / "b") == 0
    first = (tmp_path / "v1" / f"{V1}-labels.csv").read_text().splitlines()
    assert first != list(json.loads((tmp_path / "v2" / "labels.json").read_text())) != NAMES
    assert class_names(tmp_path / "a") == class_names(tmp_path / "b") == NAMES
    pairs = rows(tmp_path / "a" / "mirror_pairs.csv")
    assert pairs == rows(tmp_path / "b" / "mirror_pairs.csv")
    assert len(pairs) == 3
    assert pairs[0] == {
        "class": "Pulling something from left to right",
        "mirrored": "Pulling something from right to left",
    }
