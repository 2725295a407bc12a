"""Class folders split into train and val so that groups stay whole."""

import csv
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateshift.cli.main import main
from gateshift.data.prepare.group_split import find_groups, split_groups
from gateshift.errors import ManifestError, SettingsError

# A class and a group for each video.
VIDEOS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123456")), min_size=1, max_size=30)
SHARES = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8])


def quality(videos: list[tuple[str, str]], in_val: list[bool], share: float) -> tuple[int, float] | None:
    """How many classes val lacks, and how far the others' shares are off on average; None if train lacks a class."""
    off, lacking = 0.0, 0
    classes = sorted({label for label, _ in videos})
    for label in classes:
        chosen = [value for (own, _), value in zip(videos, in_val, strict=True) if own == label]
        if all(chosen):
            return None
        lacking += not any(chosen)
        off += abs(sum(chosen) / len(chosen) - share)
    return lacking, off / len(classes)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(VIDEOS, SHARES)
def test_no_split_by_groups_has_more_classes_in_val_or_shares_nearer_to_the_one_asked_for(
    videos: list[tuple[str, str]], share: float
) -> None:
    labels, groups = zip(*videos, strict=True)
    in_val = split_groups(labels, groups, val_share=share)
    assert len(in_val) == len(videos)
    sides = dict(zip(groups, in_val, strict=True))
    assert [sides[group] for group in groups] == in_val  # no group is on both sides
    found = quality(videos, in_val, share)
    assert found is not None
    names = sorted(set(groups))
    every = []
    for chosen in itertools.product([False, True], repeat=len(names)):
        side_of = dict(zip(names, chosen, strict=True))
        every.append(quality(videos, [side_of[group] for group in groups], share))
    best = min(each for each in every if each is not None)
    assert found[0] == best[0]
    assert found[1] == pytest.approx(best[1], abs=1e-3)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(VIDEOS, st.randoms(use_true_random=False))
def test_the_order_of_the_videos_changes_nothing(videos: list[tuple[str, str]], random: object) -> None:
    labels, groups = zip(*videos, strict=True)
    sides = dict(zip(groups, split_groups(labels, groups, val_share=0.2), strict=True))
    random.shuffle(videos)  # type: ignore[attr-defined]
    labels, groups = zip(*videos, strict=True)
    assert dict(zip(groups, split_groups(labels, groups, val_share=0.2), strict=True)) == sides


def test_hundreds_of_groups_come_near_to_the_share_in_every_class() -> None:
    labels = [f"class {number % 12}" for number in range(1500)]
    groups = [f"person {number * number % 211}" for number in range(1500)]
    in_val = split_groups(labels, groups, val_share=0.2)
    for label in set(labels):
        chosen = [value for own, value in zip(labels, in_val, strict=True) if own == label]
        assert 0.15 < sum(chosen) / len(chosen) < 0.25


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"P\d+", ["P1", "P12"]),
        (r"/(\w)\d+", ["P", "P"]),
        (r"P(\d+)_(\w+)", ["1 a", "12 b"]),
        (r"(?:_(a)|_(b))", ["a", "b"]),
    ],
)
def test_a_group_is_what_the_pattern_or_its_parentheses_match(pattern: str, groups: list[str]) -> None:
    assert find_groups(["wave/P1_a.mp4", "clap/P12_b.mp4"], pattern) == groups


def test_a_pattern_that_is_none_or_finds_nothing_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"`group_pattern` '\(' is no regular expression: .*try one such as"):
        find_groups(["wave/P1.mp4"], "(")
    with pytest.raises(ManifestError, match=r"wave/Q1.mp4: `group_pattern` 'P\(\[0-9\]\*\)' finds nothing in it"):
        find_groups(["wave/P1.mp4", "wave/Q1.mp4"], "P([0-9]*)")
    with pytest.raises(ManifestError, match=r"wave/P.mp4: .* finds nothing"):
        find_groups(["wave/P.mp4"], "P([0-9]*)")


# The command line


@pytest.fixture
def lay(
    tmp_path: Path, write_video: Callable[..., Path], counting_frames: Callable[..., object]
) -> Callable[..., Path]:
    """Lay out videos below a root; all are copies of one."""
    source = write_video(tmp_path / "source.mp4", counting_frames(3))

    def copies(*names: str) -> Path:
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
        return tmp_path / "root"

    return copies


def run(*words: object) -> int:
    try:
        main(["prepare", "folder", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def listed(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return ["/".join(Path(row["path"]).parts[-2:]) for row in csv.DictReader(file)]


def test_a_person_is_on_one_side_only_and_nothing_is_lost(
    lay: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [f"{label}/P{person}_{take}.mp4" for label in ("wave", "clap") for person in range(5) for take in (1, 2)]
    root, out = lay(*videos, "nod/P0_1.mp4"), tmp_path / "lists"
    assert run(root, "--out", out, "--group-pattern", "P[0-9]+") == 0
    sides = [listed(out / name) for name in ("train.csv", "val.csv")]
    assert sorted(sides[0] + sides[1]) == sorted([*videos, "nod/P0_1.mp4"])
    people = [{Path(name).name[:2] for name in side} for side in sides]
    assert not people[0] & people[1]
    assert {Path(name).parent.name for name in sides[1]} == {"wave", "clap"}
    assert len(sides[1]) == 4  # one of five people
    printed = " ".join(capsys.readouterr().out.split())
    assert "groups: 4 in train, such as 'P0', 1 in val, such as 'P" in printed
    assert "val has 0.20 to 0.20 of the videos of each of its classes" in printed
    assert "class 'nod': all in train, as groups stay whole; val has none of its 1 video(s) of 1 group(s)" in printed


def test_without_a_pattern_the_split_is_as_it_was(lay: Callable[..., Path], tmp_path: Path) -> None:
    root = lay(*(f"{name}/P0_{take}.mp4" for name in ("wave", "clap") for take in range(5)))
    assert run(root, "--out", tmp_path / "lists") == 0
    assert len(listed(tmp_path / "lists" / "val.csv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["wave|clap", "mp4"])
def test_groups_that_cannot_be_split_are_refused(
    pattern: str, lay: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay("wave/1.mp4", "wave/2.mp4", "clap/1.mp4", "clap/2.mp4")
    assert run(root, "--out", tmp_path / "lists", "--group-pattern", pattern) == 2
    assert "finds no class with videos of 2 groups, one for train and one for val" in capsys.readouterr().err
    assert not (tmp_path / "lists").exists()


def test_a_folder_that_is_split_already_is_checked(
    lay: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = lay("train/wave/P1_1.mp4", "train/wave/P2_1.mp4", "val/wave/P3_1.mp4"), tmp_path / "lists"
    lay("train/clap/P1_2.mp4")
    assert run(root, "--out", out, "--group-pattern", "P[0-9]") == 0
    lay("val/wave/P2_2.mp4")
    assert run(root, "--out", out, "--overwrite", "--group-pattern", "P[0-9]") == 2
    assert "group 'P2' is in both lists, with train/wave/P2_1.mp4 and val/wave/P2_2.mp4" in capsys.readouterr().err


def test_a_data_set_with_lists_of_its_own_has_no_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "kinetics", str(tmp_path), "--out", str(tmp_path / "lists"), "--group-pattern", "P"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "--group-pattern P with kinetics; it is only for folder" in capsys.readouterr().err
