"""Frame numbers, crops and views, against the golden figures and by their properties."""

import json

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from golden_recipe import frames
from hypothesis import given
from hypothesis import strategies as st

from gateshift.data.clips.sampling import clip_places, segment_indices
from gateshift.data.clips.transforms import Box, crop, jitter_color, mirror, multi_scale_boxes, random_crop
from gateshift.data.clips.views import EvalProtocol, crop_boxes, merge_views
from gateshift.errors import SettingsError

SAMPLING = json.loads((GOLDEN / "sampling.json").read_text())
TRANSFORMS = np.load(GOLDEN / "transforms.npz")


def golden_keys(kind: str) -> list:
    """The recorded cases of one kind, as (key, height, width, size)."""
    cases = []
    for key in TRANSFORMS:
        if key.startswith(kind):
            shape, size = key.rsplit("_", 2)[1:]
            cases.append((key, *map(int, shape.split("x")), int(size)))
    assert len(cases) == 4
    return cases


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(frames(7, 1, height, width)).permute(0, 3, 1, 2)  # [1, 3, H, W]


@pytest.mark.parametrize("case", SAMPLING, ids=lambda case: f"{case['num_segments']}of{case['num_frames']}")
def test_test_and_validation_frames_are_those_of_the_release(case: dict) -> None:
    def numbers(protocol: EvalProtocol) -> list[list[int]]:  # the release counts from 1
        return [[index + 1 for index in clip] for clip in protocol.frame_indices(case["num_frames"])]

    segments = case["num_segments"]
    assert numbers(EvalProtocol(segments)) == [case["test_1clip"]]
    assert numbers(EvalProtocol(segments, num_clips=2)) == case["test_2clips"]
    assert numbers(EvalProtocol(segments, short_videos="first-frame")) == [case["val"]]


@given(num_frames=st.integers(1, 400), num_segments=st.integers(1, 40), seed=st.integers(0, 9))
def test_a_random_clip_takes_one_frame_of_each_segment(num_frames: int, num_segments: int, seed: int) -> None:
    picked = segment_indices(num_frames, num_segments, jitter=torch.Generator().manual_seed(seed)).tolist()
    assert len(picked) == num_segments
    assert picked == sorted(picked)
    for segment, index in enumerate(picked):
        assert 0 <= index < num_frames
        assert int(segment * num_frames / num_segments) <= index <= (segment + 1) * num_frames / num_segments


def test_a_random_clip_reaches_every_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = {index for _ in range(200) for index in segment_indices(12, 4, jitter=generator).tolist()}
    assert seen == set(range(12))


@given(num_frames=st.integers(1, 100), num_segments=st.integers(1, 30), num_clips=st.integers(1, 10))
def test_test_frames_are_in_range_and_in_order(num_frames: int, num_segments: int, num_clips: int) -> None:
    for clip in EvalProtocol(num_segments, num_clips).frame_indices(num_frames):
        assert clip == sorted(clip)
        assert 0 <= clip[0]
        assert clip[-1] < num_frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 8), "num_frames must be at least 1, got 0"), ((8, 0), "num_segments must be at least 1, got 0")],
)
def test_counts_below_one_are_refused(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment_indices(*arguments)


def test_an_unknown_way_with_short_videos_is_refused() -> None:
    with pytest.raises(SettingsError, match="`short_videos` 'first'; choose one of spread, first-frame"):
        EvalProtocol(8, short_videos="first")  # type: ignore[arg-type]


def test_places_outside_a_segment_are_refused() -> None:
    with pytest.raises(ValueError, match="place must be from 0"):
        segment_indices(8, 4, place=1.0)
    with pytest.raises(ValueError, match="num_clips must be at least 1"):
        clip_places(0)


@pytest.mark.parametrize(("key", "height", "width", "size"), golden_keys("center"))
def test_the_centre_crop_is_that_of_the_release(key: str, height: int, width: int, size: int) -> None:
    found = EvalProtocol(1).crops(image(height, width), size_px=size, resize_px=size * 256 // 224)
    assert found.shape == (1, 1, 3, size, size)
    difference = found[0, 0].permute(1, 2, 0).numpy().astype(int) - TRANSFORMS[key].astype(int)
    assert np.abs(difference).mean() <= 0.5


@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("case", range(4))
def test_five_and_ten_crops_are_those_of_the_release_in_order(count: int, case: int) -> None:
    key, height, width, size = golden_keys("five" if count == 5 else "ten")[case]
    found = EvalProtocol(1, num_crops=count).crops(image(height, width), size_px=size, resize_px=size * 256 // 224)
    means = found[:, 0].float().mean((2, 3)).numpy()  # [crops, 3]
    np.testing.assert_allclose(means, TRANSFORMS[key], atol=0.05)


@pytest.mark.parametrize(("key", "height", "width", "size"), golden_keys("multiscale"))
def test_training_crops_take_the_boxes_of_the_release(key: str, height: int, width: int, size: int) -> None:
    boxes = multi_scale_boxes(height, width, size_px=size)
    found = sorted({(box.left, box.top, box.width, box.height) for box in boxes})
    assert found == [tuple(row) for row in TRANSFORMS[key].tolist()]


@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.integers(1, 256), whole_frame=st.booleans())
def test_training_boxes_lie_inside_any_frame(height: int, width: int, size: int, whole_frame: bool) -> None:
    for box in multi_scale_boxes(height, width, size_px=size, whole_frame=whole_frame):
        assert box.width >= 1
        assert box.height >= 1
        assert 0 <= box.left <= box.left + box.width <= width
        assert 0 <= box.top <= box.top + box.height <= height


def test_three_crops_cover_the_whole_width_and_height() -> None:
    assert crop_boxes(64, 100, size_px=64, count=3) == [Box(0, 0, 64, 64), Box(18, 0, 64, 64), Box(36, 0, 64, 64)]
    assert EvalProtocol(2, num_crops=3).crops(image(48, 90), size_px=32, resize_px=36).shape == (3, 1, 3, 32, 32)


@given(st.integers(40, 120), st.integers(40, 120), st.floats(0.66, 1))
def test_no_random_crop_is_smaller_than_asked_for(height: int, width: int, smallest: float) -> None:
    all_of_them = multi_scale_boxes(height, width, size_px=10)
    boxes = multi_scale_boxes(height, width, size_px=10, min_crop_scale=smallest)
    shorter = min(height, width)
    assert {min(box.width, box.height) for box in boxes} <= {int(shorter * scale) for scale in (0.66, 0.75, 0.875, 1)}
    assert min(min(box.width, box.height) for box in boxes) >= int(smallest * shorter)
    assert set(boxes) <= set(all_of_them)
    assert (set(boxes) == set(all_of_them)) == (smallest <= 0.66)


def test_a_random_crop_is_one_draw_for_all_frames() -> None:
    still = image(60, 80).expand(5, -1, -1, -1)
    boxes = multi_scale_boxes(60, 80, size_px=32)
    clip = random_crop(still, boxes, size_px=32, generator=torch.Generator().manual_seed(1))
    assert clip.shape == (5, 3, 32, 32)
    assert torch.equal(clip, clip[:1].expand_as(clip))


def test_a_random_crop_is_the_same_again_with_the_same_generator() -> None:
    boxes = multi_scale_boxes(60, 80, size_px=32)
    again = [torch.Generator().manual_seed(3) for _ in range(2)]
    crops = [random_crop(image(60, 80), boxes, size_px=32, generator=generator) for generator in again]
    assert torch.equal(*crops)


def test_brightness_changes_all_frames_alike_and_stays_uint8() -> None:
    still = image(20, 20).expand(3, -1, -1, -1)
    changed = jitter_color(still, amount=0.5, generator=torch.Generator().manual_seed(0))
    assert changed.dtype == torch.uint8
    assert torch.equal(changed, changed[:1].expand_as(changed))
    assert not torch.equal(changed, still)


def test_mirroring_twice_is_nothing() -> None:
    assert torch.equal(mirror(mirror(image(9, 12))), image(9, 12))
    assert torch.equal(crop(mirror(image(9, 12)), Box(0, 0, 2, 9)), mirror(crop(image(9, 12), Box(10, 0, 2, 9))))


def test_mirrored_views_vote_for_the_class_that_swaps() -> None:
    protocol = EvalProtocol(8, num_clips=1, num_crops=10)
    swap = torch.tensor([1, 0, 2])
    logits = torch.zeros(1, 10, 3)
    logits[0, 0::2, 0] = 1.0  # upright views say class 0
    logits[0, 1::2, 1] = 1.0  # mirrored ones its counterpart
    assert merge_views(logits, protocol, swap).tolist() == [[1.0, 0.0, 0.0]]


def test_views_are_averaged() -> None:
    logits = torch.randn(2, 6, 4)
    merged = merge_views(logits, EvalProtocol(8, num_clips=2, num_crops=3), torch.arange(4))
    torch.testing.assert_close(merged, logits.mean(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_segments": 0}, "`segments` 0; a clip has at least 1 frame"),
        ({"num_segments": 8, "num_clips": 0}, "`clips` 0; a test takes at least 1"),
        ({"num_segments": 8, "num_crops": 4}, "`crops` 4; choose one of 1, 3, 5, 10"),
    ],
)
def test_protocols_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        EvalProtocol(**options)


def test_a_protocol_names_itself() -> None:
    assert str(EvalProtocol(8, 2, 1)) == "8 segments × 2 clips × 1 crops"
