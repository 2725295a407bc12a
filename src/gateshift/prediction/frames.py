"""What a network says of every frame of a recording: one pass over the file, a few frames in memory at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateshift.data.clips.views import crop_frame
from gateshift.data.video.protocol import Video
from gateshift.errors import GateShiftWarning, ModelError
from gateshift.evaluation.fast_form import device_of
from gateshift.model.classifier import ClipClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.streaming.network import ExactStream
from gateshift.prediction.scoring import AnyModel
from gateshift.prediction.windows import Windows, stack_clips

STREAMED_AT_ONCE = 16  # frames that go through an exact stream together
DEFAULT_FRAMES = 100  # of a window, where the model does not say


def frame_answers(config: ModelConfig, logits: Tensor) -> Tensor:
    """Probabilities of nothing and of each class, and the displacement where there is one: [..., A] -> [..., A]."""
    num_classes = len(config.classes) + 1
    return torch.cat((config.probabilities(logits[..., :num_classes]), logits[..., num_classes:].float()), dim=-1)


def score_frames(
    model: AnyModel,
    video: Video,
    frame_indices: Sequence[int] | NDArray[np.int64],
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Tensor]:
    """The answers for frames of a video, one after the other.

    A network whose head can be streamed sees all of the recording as one clip. One that reads it backwards too, or a
    file that was exported, sees windows as long as its clips, each half of the next, and answers are averaged.

    Args:
        model: That answers for each frame, in eval mode.
        video: Open.
        frame_indices: The frames that the network sees, none before the one before it.
        progress: Called with the number of frames that are done and of all.

    Yields:
        Answers [m, A] of the next frames, on the CPU; see :func:`frame_answers`.

    Raises:
        VideoError: If a frame cannot be decoded.
    """
    crops = frame_crops(video, frame_indices, model.config)
    yield from score_crops(model, crops, len(frame_indices), progress=progress)


@torch.inference_mode()
def score_crops(
    model: AnyModel,
    crops: Iterator[Tensor],
    total: int,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Tensor]:
    """The same for frames that are decoded already.

    Args:
        model: That answers for each frame, in eval mode.
        crops: What it sees of each frame, uint8 [3, s, s]; taken as they are needed.
        total: How many these are.
        progress: Called with the number of frames that are done and of all.

    Yields:
        Answers [m, A] of the next frames, on the CPU; see :func:`frame_answers`.
    """
    done, stream = 0, _stream(model)
    if stream is not None:
        found = _streamed(stream, crops, device_of(model))
    else:
        found = _averaged(model, crops, model.config.num_segments or DEFAULT_FRAMES, total)
    for answers in found:
        done += len(answers)
        progress(done, total)
        if len(answers):
            yield answers.cpu()


def _stream(model: nn.Module) -> ExactStream | None:
    """An exact stream of a model; None if it has none, and is to see windows."""
    if not isinstance(model, ClipClassifier) or model.config.head == "gru":
        return None
    try:
        return ExactStream(model)
    except ModelError as error:
        warnings.warn(f"{error}; recordings are seen in windows", GateShiftWarning, stacklevel=4)
        return None


def frame_crops(
    video: Video, frame_indices: Sequence[int] | NDArray[np.int64], config: ModelConfig
) -> Iterator[Tensor]:
    """What the network sees of each frame, [3, s, s]; one that is seen several times in a row is decoded once."""
    last, seen = -1, torch.empty(0)
    for number in frame_indices:
        if number != last:
            last = number
            seen = video_crop(video, number, config)
        yield seen


def video_crop(video: Video, number: int | np.int64, config: ModelConfig) -> Tensor:
    """What a network sees of one frame of a video: uint8 [3, s, s]."""
    return crop_frame(video.read([int(number)]), size_px=config.size_px, resize_px=config.resize_px)


def _streamed(stream: ExactStream, crops: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    while chunk := list(islice(crops, STREAMED_AT_ONCE)):
        yield frame_answers(stream.config, stream.push(torch.stack(chunk).to(device)).logits)
    yield frame_answers(stream.config, stream.flush().logits)


def _averaged(model: AnyModel, crops: Iterator[Tensor], num_frames: int, total: int) -> Iterator[Tensor]:
    """Answers of each frame, averaged over the windows that it is in; given once the last of these is seen."""
    kept: list[Tensor] = []  # crops from the start of the window on
    start, sums, counts = 0, torch.zeros(0), torch.zeros(0)  # of the frames from there on
    device, windows = device_of(model), Windows(num_frames, max(num_frames // 2, 1), num_frames).covering(total)
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        kept = kept[window.start - start :]
        kept += islice(crops, len(window) - len(kept))
        start = window.start
        # A file that was exported takes so many frames and no fewer.
        shown = kept if isinstance(model, ClipClassifier) else kept + [kept[-1]] * (num_frames - len(kept))
        answers = frame_answers(model.config, model(stack_clips([shown]).to(device))[0, : len(kept)]).cpu()
        if len(sums) < len(window):
            fresh = len(window) - len(sums)
            sums = torch.cat((sums.reshape(-1, answers.shape[1]), answers.new_zeros(fresh, answers.shape[1])))
            counts = torch.cat((counts, torch.zeros(fresh)))
        sums, counts = sums + answers, counts + 1
        final = len(window) if following is None else following.start - window.start
        yield sums[:final] / counts[:final, None]
        sums, counts = sums[final:], counts[final:]
