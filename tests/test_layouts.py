"""Folders of videos as people have them: their split, what lies beside the videos, and names of every kind."""

import csv
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.video.files import open_video
from gateshift.data.video.folders import VIDEO_SUFFIXES, FolderSearch, find_videos
from gateshift.errors import ManifestError, VideoError

pytestmark = pytest.mark.usefixtures("no_pictures")

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--workers", "0"]
SMALL += ["--recipe", "papers", "--epochs", "1", "--warmup-epochs", "0"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", counting_frames(4))


@pytest.fixture
def lay(tmp_path: Path, video: Path) -> Callable[..., Path]:
    """Put the video, or an image, at paths of a folder ``data``."""

    def put(*names: str) -> Path:
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".jpg", ".thm"):
                Image.new("RGB", (48, 32)).save(path, format="JPEG")
            elif path.suffix in (".txt", ".json"):
                path.write_text("no video")
            else:
                shutil.copy(video, path)
        return tmp_path / "data"

    return put


def run(*arguments: object) -> int:
    try:
        main([str(each) for each in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def listed(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["label"]) for row in csv.DictReader(file)]


def in_classes(*places: str) -> list[str]:
    """Two classes of two videos in each place."""
    return [f"{place}{label}/{number}.mp4" for place in places for label in ("close", "open") for number in range(2)]


# --- splits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("train", "valid"),
        ("Training", "Validation"),
        ("training", "Testing"),
        ("train", "validate"),
    ],
)
def test_split_folders_are_known_whatever_their_capitals(train: str, val: str, lay: Callable, tmp_path: Path) -> None:
    root = lay(*in_classes(f"{train}/", f"{val}/"))
    assert run("prepare", "folder", root, "--out", tmp_path / "lists") == 0
    for name, folder in (("train", train), ("val", val)):
        assert {Path(path).parts[-3] for path, _ in listed(tmp_path / "lists" / f"{name}.csv")} == {folder}
    assert (tmp_path / "lists" / "classes.txt").read_text() == "close\nopen\n"


def test_folders_beside_the_lists_are_told(lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay(*in_classes("Train/", "Valid/", "Test/", "Unlabeled/"), "@eaDir/x.jpg")
    assert run("prepare", "folder", root, "--out", tmp_path / "lists") == 0
    said = capsys.readouterr().out
    assert "val is made of Valid; Test is not used" in said
    assert "lists are made of Train and Valid; Unlabeled is not used" in said and "eaDir" not in said


def test_two_folders_of_one_list_are_an_error(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(*in_classes("train/", "training/", "val/"))
    assert run("prepare", "folder", root, "--out", tmp_path / "lists") == 2
    assert "train and training are both there, and one is train; keep one" in capsys.readouterr().err


@pytest.mark.parametrize("places", [("Train/", "Val/"), ("train/",), ("val/",), ("train/", "test/", "others/")])
def test_lists_are_not_taken_for_classes(places: tuple[str, ...], lay: Callable) -> None:
    root = lay(*in_classes(*places))
    with pytest.raises(ManifestError, match=f"lists, not classes; give {root / places[0]}, or make lists with"):
        read_manifest(root)


def test_a_class_may_be_called_train_or_test_beside_others(lay: Callable) -> None:
    assert read_manifest(lay("train/a.mp4", "boat/a.mp4")).class_names() == ["boat", "train"]


# --- what is no class and no video --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        "@eaDir/clip.mp4/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/old.mp4",
        "$RECYCLE.BIN/S-1-5/old.mp4",
        "__MACOSX/open/0.jpg",
        "System Volume Information/x.jpg",
        "Thumbs/0.jpg",
        "thumbs/0.jpg",
    ],
)
@pytest.mark.parametrize("place", ["", "open/"])
def test_folders_of_systems_are_no_classes_and_hold_no_videos(
    place: str, odd: str, lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(*in_classes(""), place + odd)
    names = {*in_classes("")}
    search = FolderSearch()
    assert {path.relative_to(root).as_posix() for path in search.videos(root)} == names
    assert "of thumbnails or of the system" in " ".join(search.notes())
    manifest = read_manifest(root)
    assert {entry.video_id for entry in manifest.entries} == names and manifest.class_names() == ["close", "open"]
    assert run("prepare", "folder", root, "--out", tmp_path / "lists") == 0
    assert "not used: 1 folder(s) of thumbnails or of the system" in capsys.readouterr().out
    assert sum(len(listed(tmp_path / "lists" / name)) for name in ("train.csv", "val.csv")) == 4


def test_a_class_of_videos_may_be_called_thumbs(lay: Callable) -> None:
    root = lay("thumbs/a.mp4", "open/a.mp4", "thumbs/frames/1.jpg")
    assert [entry.video_id for entry in read_manifest(root).entries] == ["open/a.mp4", "thumbs/a.mp4", "thumbs/frames"]


@pytest.mark.slow
def test_what_is_not_used_is_told_by_every_verb(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(*in_classes(""), "open/0.jpg", "open/1.jpg", "close/0.thm", "close/notes.txt", "stray.mp4")
    lay("open/b.rmvb", "open/c.rmvb", "close/noname")
    gs.save_model(gs.create_model("test_resnet", classes=["close", "open"], num_segments=2), "model.safetensors")
    images = "not used: 2 image(s) beside videos, such as data/open/0.jpg"
    unknown = "not used: 2 file(s) of suffix .rmvb, which hold video, such as data/open/b.rmvb; give them the suffix"
    unnamed = "not used: 1 file(s) without a suffix, which hold video, data/close/noname"
    stray = "not used: 1 video(s) beside the class folders, data/stray.mp4"
    verbs = {
        "prepare folder data --out lists": 0,
        " ".join(["train data data --out run", *SMALL]): 0,
        "test model.safetensors data --workers 0": 0,
        "scan data --out bad.csv --workers 1": 1,  # all videos show the same
        "predict model.safetensors data": 0,
    }
    for verb, code in verbs.items():
        assert run(*verb.split()) == code
        both = "".join(capsys.readouterr()).replace("\n", " ")
        for note in (images, unknown, unnamed):
            assert both.count(note) == 1, verb
        assert both.count(stray) == (verb.split()[0] not in ("scan", "predict"))
        assert "0.thm" not in both and "notes.txt" not in both


def test_folders_below_images_are_told(lay: Callable) -> None:
    root = lay("open/clip/1.jpg", "open/clip/more/a.mp4")
    search = FolderSearch()
    assert search.videos(root) == [root / "open" / "clip"]
    told = "1 folder(s) in folders of images, which are one video each"
    assert search.notes() == (f"not used: {told}, {root / 'open/clip/more'}",)


def test_a_folder_of_unknown_files_alone_says_what_they_are(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay("open/a.dat", "close/b.dat")
    with pytest.raises(ManifestError, match=r"no class folders with videos.*2 file\(s\) of suffix .dat"):
        read_manifest(root)
    for arguments in (("prepare", "folder", root, "--out", tmp_path / "lists"), ("scan", root, "--out", "bad.csv")):
        assert run(*arguments) == 2
        assert "2 file(s) of suffix .dat, which hold video" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".mod", ".qt", ".3g2", ".dv", ".mts", ".m2ts", ".insv", ".lrv", ".LRV"])
def test_videos_of_cameras_are_known_by_their_suffix(suffix: str, lay: Callable) -> None:
    assert suffix.lower() in VIDEO_SUFFIXES
    root = lay(f"a{suffix}")
    assert find_videos(root) == [root / f"a{suffix}"]


# --- one class ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_class_alone_names_the_level_below(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(*in_classes("clips/"))
    model = tmp_path / "model.safetensors"
    gs.save_model(gs.create_model("test_resnet", classes=["close", "open"], num_segments=2), model)
    said = f"{root}: only one class, 'clips'; it holds the folders close, open: if these are the classes, give"
    for arguments in (
        ("prepare", "folder", root, "--out", tmp_path / "lists"),
        ("train", root, root, "--out", tmp_path / "run", *SMALL),
        ("test", model, root),
    ):
        assert run(*arguments) == 2
        assert f"{said} {root / 'clips'}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run("test", model, root / "clips", "--workers", "0") == 0


@pytest.mark.slow
def test_one_class_alone_is_an_error_for_lists_but_not_for_several_labels(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay("a.mp4", "b.mp4")
    (tmp_path / "list.csv").write_text("path,label\ndata/a.mp4,open\ndata/b.mp4,open\n")
    train = ("train", tmp_path / "list.csv", tmp_path / "list.csv", "--out", tmp_path / "run", *SMALL)
    assert run(*train) == 2
    assert "list.csv: only one class, 'open', and a training needs two to tell apart" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("path,label\ndata/a.mp4,open\ndata/b.mp4,\n")
    assert run(*train, "--multi-label") == 0


# --- names --------------------------------------------------------------------------------------------------

NAMES = {
    "a narrow space, as in recordings of macOS": "Screen Recording at 5.12.34\u202fPM",
    "an ideographic space": "\u3000手\u3000",
    "joiners": "👩\u200d👩\u200d👧 ne\u200cm",
    "outer spaces": " a b ",
    "separators of lines and pages": "a\u2028b\u2029c\x0bd\x0ce\x1cf\x85g",
    "control characters": "tab\tbell\x07",
    "directions": "\u202eabc\u202c",
    "quotes, commas and semicolons": "a\"b,c;d'e",
    "a byte order mark": "\ufeffa",
    "letters in parts": unicodedata.normalize("NFD", "Größe"),
    "a hash and percents": "a#1-2 %20",
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_without_a_line_break_can_stand_in_a_list(
    kind: str, lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = NAMES[kind]
    root = lay(*(f"{label}/{number}{name}.mp4" for label in ("close", f"x{name}x") for number in range(2)))
    for number in range(2):  # and at either end, without a suffix
        lay(f"close/{number}/{name}/0.jpg", f"close/{number}/{name}/1.jpg")
    out = tmp_path / "lists"
    for stored in ([], ["--pack", "16"]):
        assert run("prepare", "folder", root, "--out", out, "--overwrite", *stored) == 0, capsys.readouterr().err
        manifests = [read_manifest(out / each) for each in ("train.csv", "val.csv")]
        assert sum(map(len, manifests)) == 6
        for manifest in manifests:
            manifest.check_files()
            assert manifest.class_names() == ["close", f"x{name}x"]
            manifest.targets(manifest.class_names())
            for entry in manifest.entries:
                with open_video(entry.path) as opened:
                    assert opened.num_frames in (2, 4)
    run("scan", out / "train.csv", out / "val.csv", "--out", tmp_path / "bad.csv", "--workers", "1")
    assert "missing" not in capsys.readouterr().out


def test_original_lists_hold_such_names_too(lay: Callable, tmp_path: Path) -> None:
    names = [name for name in NAMES.values() if "\t" not in name]
    root = lay(*(f"{number}{name}/0.jpg" for number, name in enumerate(names)))
    lines = [f"{number}{name} 1 {number}\n" for number, name in enumerate(names)]
    (tmp_path / "list.txt").write_text("".join(lines), encoding="utf-8")
    manifest = read_manifest(tmp_path / "list.txt", root=root)
    manifest.check_files()
    assert [entry.label for entry in manifest.entries] == list(range(len(names)))


def test_line_breaks_and_names_that_are_no_text_are_refused(
    lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for odd in ("a\nb", "a\rb", b"a\xffb".decode("utf-8", "surrogateescape")):
        root = lay(*in_classes(""), f"open/{odd}.mp4")
        assert run("prepare", "folder", root, "--out", tmp_path / "lists") == 2
        assert "a list cannot hold this name; rename it to valid UTF-8 without line breaks" in capsys.readouterr().err
        (root / f"open/{odd}.mp4").unlink()


def test_spaces_around_the_names_of_a_list_that_no_file_has_are_ignored(lay: Callable, tmp_path: Path) -> None:
    lay("a.mp4", " b.mp4")
    (tmp_path / "list.csv").write_text("path,label\n data/a.mp4 , open\ndata/ b.mp4,close\n")
    manifest = read_manifest(tmp_path / "list.csv")
    manifest.check_files()
    assert manifest.class_names() == ["close", "open"]


def test_classes_that_outer_spaces_alone_tell_apart_are_an_error(lay: Callable) -> None:
    with pytest.raises(ManifestError, match="outer spaces alone tell this class from another; rename"):
        read_manifest(lay("open/a.mp4", "open /a.mp4"))


# --- names that are spelled in another way ------------------------------------------------------------------

NFC, NFD = (unicodedata.normalize(form, "Größe é.mp4") for form in ("NFC", "NFD"))
SPELLINGS = {
    "Windows": ("open/a b.mp4", r"open\a b.mp4", r"folders of Windows, with \; write / between folders: {there}"),
    "Windows, elsewhere": ("open/a b.mp4", r"D:\clips\a b.mp4", r"folders of Windows, with \; write / between folders"),
    "percents": ("open/a b.mp4", "open/a%20b.mp4", "characters as in an address, with %; write them as they are: "),
    "both": (f"open/{NFD}", r"open\Gr%C3%B6%C3%9Fe%20%C3%A9.mp4", "; write them as they are and another Unicode form"),
    "Label Studio": (
        "open/a b.mp4",
        "/data/local-files/?d=open/a%20b.mp4",
        "this is an address of Label Studio; write open/a b.mp4 instead, the path after ?d=",
    ),
    "NFD on the disk": (f"open/{NFD}", f"open/{NFC}", "another Unicode form (NFC or NFD, as of macOS); write names as"),
    "NFC on the disk": (f"open/{NFC}", f"open/{NFD}", "another Unicode form (NFC or NFD, as of macOS); write names as"),
    "NFD of a folder": (f"{NFD}/a.mp4", f"{NFC}/a.mp4", "another Unicode form (NFC or NFD, as of macOS); write names"),
    "capitals": ("Open/A.MP4", "open/a.mp4", "other capitals; write names as they are on the disk: "),
    "no suffix": ("open/a.mp4", "open/a", "{there} is there; write names with their suffix"),
    "another suffix": ("open/a.mp4", "open/a.webm", "{there} is there; write names with their suffix, or the one that"),
    "spaces": ("a\u202fPM.mp4", "a PM.mp4", "another kind of space; write names as they are on the disk: "),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_path_that_is_spelled_in_another_way_gets_the_hint_that_solves_it(
    kind: str, lay: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, written, hint = SPELLINGS[kind]
    root = lay(there)
    hint = hint.replace("{there}", str(root / there))
    with pytest.raises(VideoError) as caught:
        open_video(root / written)
    assert "there is no such file; " in str(caught.value) and hint in str(caught.value)
    (tmp_path / "list.csv").write_text(f"path,label\n{written},x\n", encoding="utf-8")
    with pytest.raises(ManifestError) as missing:
        read_manifest(tmp_path / "list.csv", root=root).check_files()
    assert "1 of 1 videos are missing, such as " in str(missing.value) and hint in str(missing.value)
    run("scan", tmp_path / "list.csv", "--root", root, "--out", tmp_path / "bad.csv", "--workers", "1")
    with (tmp_path / "bad.csv").open(encoding="utf-8") as file:
        assert hint in next(csv.DictReader(file))["detail"]
    assert "\n" not in str(caught.value) + str(missing.value)
    capsys.readouterr()


def test_a_name_with_nothing_odd_gets_no_hint(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="there is no such file; check the path$"):
        open_video(tmp_path / "none" / "a.mp4")
