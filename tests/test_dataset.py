"""Videos as batches: what is drawn, and what a bad video becomes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gateshift.data.clips.dataset import Augmentation, TrainingClips, ViewDataset
from gateshift.data.clips.loader import EpochShuffle, collate, make_loader
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.lists.class_pairs import mirror_map
from gateshift.data.lists.manifest import Manifest, read_manifest

CLASSES = ["left", "right"]


@pytest.fixture
def manifest(tmp_path: Path, write_video: Callable, counting_frames: Callable) -> Manifest:
    rows = []
    for number, label in enumerate(["left", "right", "left"]):
        write_video(tmp_path / f"{number}.mp4", counting_frames(20 + number))
        rows.append(f"{number}.mp4,{label}\n")
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(rows))
    return read_manifest(tmp_path / "list.csv")


def training_clips(manifest: Manifest, *, may_mirror: bool = False, seed: int = 0) -> TrainingClips:
    swap = mirror_map(CLASSES, (("left", "right"),))
    allowed = torch.tensor([may_mirror, may_mirror])
    return TrainingClips(manifest, CLASSES, Augmentation(16, 4, swap, allowed), seed=seed)


def test_a_training_clip_has_one_frame_of_each_segment(manifest: Manifest, numbers_of: Callable) -> None:
    sample = training_clips(manifest)[0]
    assert sample["clips"].shape == (4, 3, 16, 16)
    assert sample["clips"].dtype == torch.uint8
    for segment, number in enumerate(numbers_of(sample["clips"])):
        assert 5 * segment <= number < 5 * (segment + 1)


def test_a_clip_depends_on_seed_epoch_and_video_alone(manifest: Manifest) -> None:
    first, second = training_clips(manifest), training_clips(manifest)
    _ = first[2]  # what was drawn before does not matter
    assert torch.equal(first[0]["clips"], second[0]["clips"])
    second.epoch = 1
    assert not torch.equal(first[0]["clips"], second[0]["clips"])
    assert not torch.equal(first[0]["clips"], training_clips(manifest, seed=1)[0]["clips"])


def test_mirroring_swaps_left_and_right_labels(manifest: Manifest) -> None:
    clips, labels = training_clips(manifest, may_mirror=True), set()
    for epoch in range(12):
        clips.epoch = epoch
        labels.add(clips[0]["labels"])
    assert labels == {0, 1}
    plain = training_clips(manifest)
    assert {plain[0]["labels"] for plain.epoch in range(12)} == {0}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_any_number_of_workers(manifest: Manifest, workers: int) -> None:
    clips = training_clips(manifest)
    order = EpochShuffle(3, seed=5)
    batches = list(make_loader(clips, batch_size=2, workers=workers, sampler=order))
    expected = collate([clips[index] for index in list(order)[:2]])
    assert torch.equal(batches[0]["clips"], expected["clips"])
    assert batches[0]["indices"].tolist() == list(order)[:2]
    assert sum(len(batch["labels"]) for batch in batches) == 3


def test_views_are_clips_times_crops_in_the_order_of_the_protocol(manifest: Manifest, numbers_of: Callable) -> None:
    protocol = EvalProtocol(4, num_clips=2, num_crops=3)
    views = ViewDataset(manifest, protocol, size_px=16, resize_px=18)[0]["views"]
    assert views.shape == (6, 4, 3, 16, 16)
    assert [numbers_of(view) for view in views] == [[0, 5, 10, 15]] * 3 + [[2, 7, 12, 17]] * 3


def test_a_bad_video_is_a_failure_that_names_it_and_never_another_frame(manifest: Manifest) -> None:
    bad = manifest.entries[1].path
    bad.write_bytes(b"nothing")
    views = ViewDataset(manifest, EvalProtocol(4), size_px=16, resize_px=18)
    batch = next(iter(make_loader(views, batch_size=3, workers=1)))
    assert batch["indices"].tolist() == [0, 2]
    assert len(batch["failures"]) == 1
    assert str(bad) in batch["failures"][0]
    assert "failure" in training_clips(manifest)[1]
    assert collate([{"failure": "x", "indices": 3}]) == {"failures": ["x"], "failed": [3]}


def test_a_stated_length_limits_the_frames_that_are_used(manifest: Manifest, numbers_of: Callable) -> None:
    (manifest.source.parent / "list.txt").write_text("0.mp4 4 0\n")
    (manifest.source.parent / "classes.txt").write_text("left\nright\n")
    short = read_manifest(manifest.source.parent / "list.txt")
    views = ViewDataset(short, EvalProtocol(4), size_px=16, resize_px=18)[0]["views"]
    assert numbers_of(views[0]) == [0, 1, 2, 3]
