"""How training clips are varied: one draw for all frames of a clip, and labels that follow."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.mixing import Mixing
from gateshift.data.clips.seeds import seeded
from gateshift.data.clips.transforms import random_erasing, random_operations
from gateshift.data.lists.class_pairs import mirror_map, parse_pairs, reversal_map
from gateshift.data.lists.manifest import Manifest, read_manifest
from gateshift.errors import ManifestError, SettingsError

CLASSES = ["close", "open", "shake", "spin left", "spin right", "wave"]
BACKWARDS = (("open", "close"), ("shake", "shake"), ("spin left", "spin right"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable) -> Manifest:
    folder = tmp_path_factory.mktemp("counting")
    for label in CLASSES:
        write_video(folder / f"{label}.mp4", counting_frames(20))
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{label}.mp4,{label}\n" for label in CLASSES))
    return read_manifest(folder / "list.csv")


def training_clips(manifest: Manifest, *, sides: tuple[tuple[str, str], ...] = (), **options: object) -> TrainingClips:
    may_mirror = torch.full((len(CLASSES),), bool(sides))
    rule = Augmentation(16, 4, mirror_map(CLASSES, sides), may_mirror, **options)
    return TrainingClips(manifest, CLASSES, rule, seed=0)


def seen(clips: TrainingClips, label: str, numbers_of: Callable) -> set[tuple[str, bool]]:
    """The labels that clips of a class get in 16 epochs, each with whether its frames run backwards."""
    found = set()
    for clips.epoch in range(16):
        sample = clips[CLASSES.index(label)]
        numbers = numbers_of(sample["clips"])
        assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
        found.add((CLASSES[sample["labels"]], numbers[0] > numbers[-1]))
    return found


@pytest.mark.slow
def test_a_reversed_clip_has_the_label_of_its_reversal(manifest: Manifest, numbers_of: Callable) -> None:
    clips = training_clips(manifest, reversal_map=reversal_map(CLASSES, BACKWARDS))
    assert seen(clips, "open", numbers_of) == {("open", False), ("close", True)}
    assert seen(clips, "close", numbers_of) == {("close", False), ("open", True)}
    assert seen(clips, "shake", numbers_of) == {("shake", False), ("shake", True)}


def test_a_class_in_no_pair_is_never_reversed(manifest: Manifest, numbers_of: Callable) -> None:
    clips = training_clips(manifest, reversal_map=reversal_map(CLASSES, BACKWARDS))
    assert seen(clips, "wave", numbers_of) == {("wave", False)}


def test_a_clip_that_is_mirrored_and_reversed_has_both_changes_of_label(
    manifest: Manifest, numbers_of: Callable
) -> None:
    sides = (("spin left", "spin right"),)
    clips = training_clips(manifest, sides=sides, reversal_map=reversal_map(CLASSES, BACKWARDS))
    found = seen(clips, "spin left", numbers_of)
    assert found == {(label, backwards) for label in sides[0] for backwards in (False, True)}


def test_reversal_changes_no_other_draw(manifest: Manifest) -> None:
    plain = training_clips(manifest, color_jitter=0.3)
    varied = training_clips(manifest, color_jitter=0.3, reversal_map=reversal_map(CLASSES, BACKWARDS))
    for plain.epoch in range(8):
        varied.epoch = plain.epoch
        one, two = plain[1]["clips"], varied[1]["clips"]
        assert torch.equal(one, two) or torch.equal(one, two.flip(0))


def test_reversal_pairs_are_those_of_the_file_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.mp4,x\n")
    manifest = read_manifest(tmp_path / "list.csv")
    assert manifest.reversal_pairs(CLASSES) == ()
    (tmp_path / "reversal_pairs.csv").write_text("class,reversed\nopen,close\nshake,shake\n")
    assert manifest.reversal_pairs(CLASSES) == BACKWARDS[:2]
    for text, message in (
        ("class,mirrored\n", "its first line must be class,reversed"),
        ("class,reversed\nopen,shut\n", "line 2: 'shut' is none of the 6 classes"),
        ("class,reversed\nopen,close\nopen,open\n", "line 3: 'open' is in two pairs"),
    ):
        (tmp_path / "reversal_pairs.csv").write_text(text)
        with pytest.raises(ManifestError, match=f"reversal_pairs.csv.*{message}"):
            manifest.reversal_pairs(CLASSES)


def test_reversal_pairs_can_be_given_and_are_checked() -> None:
    assert parse_pairs(["open=close", "shake = shake"], CLASSES, kind="reversal") == BACKWARDS[:2]
    assert reversal_map(CLASSES, BACKWARDS).tolist() == [1, 0, 2, 4, 3, -1]
    with pytest.raises(SettingsError, match="reversal pair 'open=shut'; give two classes"):
        parse_pairs(["open=shut"], CLASSES, kind="reversal")
    with pytest.raises(SettingsError, match="one of the two is in another pair"):
        parse_pairs(["open=open", "open=close"], CLASSES, kind="reversal")


def still_clip() -> torch.Tensor:
    """A clip of five equal frames: uint8 [5, 3, 24, 24]."""
    frame = torch.randint(0, 256, (1, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return frame.repeat(5, 1, 1, 1)


def test_random_operations_are_the_same_for_all_frames_of_a_clip() -> None:
    clip, results = still_clip(), []
    for seed in range(30):
        changed = random_operations(clip, magnitude=15, generator=torch.Generator().manual_seed(seed))
        assert changed.shape == clip.shape
        assert changed.dtype == torch.uint8
        assert (changed == changed[:1]).all()
        results.append(changed)
    assert sum(not torch.equal(result, clip) for result in results) > 20
    assert len({bytes(result.numpy().tobytes()) for result in results}) > 15


def test_random_operations_never_mirror_a_clip() -> None:
    """Left stays left: a bright left half is brighter than the right one after whatever was drawn but an inversion."""
    clip = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    clip[..., :16] = 200
    for seed in range(60):
        changed = random_operations(clip, magnitude=9, generator=torch.Generator().manual_seed(seed)).float()
        left, right = changed[..., 8:24, 4:10].mean(), changed[..., 8:24, 22:28].mean()
        assert left > right, seed


def test_a_rectangle_is_erased_in_all_frames_of_a_clip_at_its_probability() -> None:
    clip, count = still_clip(), 0
    for seed in range(40):
        changed = random_erasing(clip, probability=0.5, generator=torch.Generator().manual_seed(seed))
        assert (changed == changed[:1]).all()
        erased = (changed != clip).any(1)[0]  # [24, 24]
        assert not erased.all()
        count += int(erased.any())
    assert 10 <= count <= 30


def test_operations_and_erasing_depend_on_the_clip_alone_and_leave_no_trace(manifest: Manifest) -> None:
    varied = training_clips(manifest, magnitude=9, erasing=0.5)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = varied[0]["clips"]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(varied[0]["clips"], first)
    assert not torch.equal(first, training_clips(manifest)[0]["clips"])


def test_a_seeded_block_draws_the_same_and_gives_the_state_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(3):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(3):
        assert torch.equal(torch.rand(2), inside)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Flat clips of levels 0, 80, 160 and 240, uint8 [4, 3, 3, 16, 16], of four classes."""
    levels = torch.tensor([0, 80, 160, 240], dtype=torch.uint8)
    return levels.view(-1, 1, 1, 1, 1).repeat(1, 3, 3, 16, 16), torch.arange(4)


def test_nothing_is_mixed_by_default() -> None:
    clips, labels = batch()
    mixed, targets = Mixing(4).mix(clips, labels, epoch=0, batch=1)
    assert mixed is clips
    assert targets is labels


def test_mixup_blends_whole_clips_as_it_blends_their_labels() -> None:
    clips, labels = batch()
    for number in range(10):
        mixed, shares = Mixing(4, mixup=0.8).mix(clips, labels, epoch=0, batch=number)
        assert mixed.shape == clips.shape
        expected = shares @ (clips[:, 0, 0, 0, 0].float() / 255)  # [4]
        torch.testing.assert_close(mixed, expected.view(-1, 1, 1, 1, 1).expand_as(mixed))
        torch.testing.assert_close(shares.sum(1), torch.ones(4))


def test_cutmix_pastes_the_same_rectangle_in_every_frame_and_counts_its_pixels() -> None:
    clips, labels = batch()
    for number in range(10):
        mixed, shares = Mixing(4, cutmix=1.0).mix(clips, labels, epoch=0, batch=number)
        assert mixed.dtype == torch.uint8
        assert (mixed == mixed[:, :1, :1]).all()  # whatever frame and channel
        own = (mixed == clips).float().mean((1, 2, 3, 4))  # [4]
        torch.testing.assert_close(shares.diagonal(), own)
        torch.testing.assert_close(shares.sum(1), torch.ones(4))


def test_what_is_mixed_depends_on_seed_epoch_and_batch_alone() -> None:
    clips, labels = batch()

    def shares(seed: int, epoch: int, number: int) -> torch.Tensor:
        return Mixing(4, mixup=0.8, cutmix=1.0, seed=seed).mix(clips, labels, epoch=epoch, batch=number)[1]

    first = shares(0, 1, 2)
    torch.rand(5)
    assert torch.equal(shares(0, 1, 2), first)
    others = [shares(1, 1, 2), shares(0, 2, 2), shares(0, 1, 3)]
    assert not any(torch.equal(other, first) for other in others)


def test_with_both_on_each_batch_is_mixed_by_one_of_them() -> None:
    clips, labels = batch()
    mixing = Mixing(4, mixup=0.8, cutmix=1.0)
    kinds = {mixing.mix(clips, labels, epoch=0, batch=number)[0].dtype for number in range(12)}
    assert kinds == {torch.uint8, torch.float32}
