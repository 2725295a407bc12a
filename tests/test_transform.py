"""What a model takes of a video's frames: exactly what a test with one clip and one crop feeds it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gateshift as gs
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.video.files import open_video
from gateshift.errors import GateShiftError
from gateshift.model.classifier import VideoClassifier


def network(**options: object) -> VideoClassifier:
    return gs.create_model("test_resnet", num_classes=2, **{"size_px": 32, "num_segments": 4, **options}).eval()


@pytest.mark.parametrize("whole_frame", [False, True])
@pytest.mark.parametrize("size", [(40, 70), (91, 33), (32, 32)])
@pytest.mark.parametrize("length", [1, 3, 11])
def test_it_is_what_a_test_feeds_to_the_bit(
    length: int, size: tuple[int, int], whole_frame: bool, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (length, *size, 3), np.uint8)
    model = network(whole_frame=whole_frame)
    with open_video(write_folder(tmp_path / "video", frames)) as video:
        views = read_views(video, EvalProtocol(4), size_px=32, resize_px=model.config.resize_px)
    for given in (frames, torch.from_numpy(frames), frames / 255, torch.from_numpy(frames).float() / 255):
        clip = model.transform(given)
        assert clip.dtype == torch.uint8
        assert torch.equal(clip[None], views)
    assert torch.equal(model.deploy().transform(frames), clip)
    with torch.no_grad():
        assert model(clip[None]).shape == (1, 2)


def test_the_number_of_frames_of_a_clip_may_be_said() -> None:
    frames = np.zeros((9, 32, 32, 3), np.uint8)
    assert network().transform(frames, segments=7).shape == (7, 3, 32, 32)
    with pytest.raises(GateShiftError, match="does not say how many frames a clip has; give a number, such as `segm"):
        network(num_segments=None).transform(frames)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.int64), r"shape \[2, 8, 8, 3\] and int64; .*; convert it"),
        (np.zeros((2, 8, 8, 3), object), "and object; .*; convert it"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"\[2, 3, 8, 8\] and uint8; .*; put the channels last, as \[T, H, W, 3\]"),
        (np.zeros((8, 8, 3), np.uint8), r"shape \[8, 8, 3\] and uint8; .*; reshape it"),
        (np.zeros((2, 8, 0, 3), np.uint8), "is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "with at least 1 frame"),
        (np.full((2, 8, 8, 3), 200.0), "from 200 to 200; .*; divide it by 255"),
        (np.full((2, 8, 8, 3), np.nan), "scale or clip it"),
        ([[0]], "frames of type list; .*; convert them"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(frames: object, message: str) -> None:
    with pytest.raises(GateShiftError, match=message) as caught:
        network().transform(frames)
    assert "\n" not in str(caught.value)
