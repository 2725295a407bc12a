"""Features of a network: what it sees in a clip or a frame, before its classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gateshift.errors import ModelError
from gateshift.evaluation.fast_form import device_of, fast_form
from gateshift.extraction.reading import Pixels, Wanted
from gateshift.model.classifier import ClipClassifier, VideoClassifier
from gateshift.model.streaming.network import ExactStream
from gateshift.model.surgery.insert import find_temporal

Rows = NDArray[np.float32]


class FeatureNetwork:
    """A model without its head, in its deployed form, which has its features to rounding.

    Args:
        model: In eval mode.
        wanted: Whether rows are of clips, and of how many frames, or of frames.

    Raises:
        ModelError: If the model is in training mode, or gives features of clips alone where those of frames are wanted.
    """

    def __init__(self, model: VideoClassifier, wanted: Wanted) -> None:
        self._model: ClipClassifier = fast_form(model)  # type: ignore[assignment] # in float32 there is no other form
        self._wanted = wanted
        self._is_streamed = not wanted.per_clip and bool(find_temporal(model.backbone).sites)
        if self._is_streamed:
            try:
                ExactStream(self._model, with_head=False)
            except ModelError as error:
                raise ModelError(f"{error}, or take features `per=clip`") from None

    @torch.inference_mode()
    def rows(self, parts: Iterator[Pixels]) -> Iterator[Rows]:
        """The features of a video, float32 [n, F], as its parts come.

        Of a clip they are the mean over its frames, which is what the classifier of a clip sees. Of frames they are
        those of the whole video as one clip.

        Args:
            parts: Frames uint8 [n, size_px, size_px, 3], clip after clip, or one after the other.
        """
        stream = ExactStream(self._model, with_head=False) if self._is_streamed else None
        for pixels in parts:
            frames = torch.from_numpy(pixels).movedim(-1, 1).to(device_of(self._model))  # channels last in memory
            if stream is not None:
                found = stream.push(frames).features
            elif self._wanted.per_clip:
                clips = frames.unflatten(0, (-1, self._wanted.num_segments))  # [B, T, 3, s, s]
                found = self._model.frame_features(clips).float().unflatten(0, clips.shape[:2]).mean(1)  # [B, F]
            else:
                found = self._model.frame_features(frames.unsqueeze(1))  # each a clip of its own
            if len(found):
                yield found.float().cpu().numpy()
        if stream is not None and len(found := stream.flush().features):
            yield found.float().cpu().numpy()


def digest_of(model: VideoClassifier) -> str:
    """What tells a model from any other: of its description and its weights."""
    digest = hashlib.sha256(model.config.to_json().encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
