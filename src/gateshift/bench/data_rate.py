"""Whether the data or the model is the bottleneck: how many videos a second each of them takes alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler

from gateshift.bench.programs import TRAINED_FORM, Timing, kind_of
from gateshift.data.clips.dataset import Augmentation, TrainingClips
from gateshift.data.clips.loader import EpochShuffle, make_loader
from gateshift.data.lists.class_pairs import may_mirror, mirror_map
from gateshift.data.lists.manifest import Manifest
from gateshift.data.video.packed import PACKED_SUFFIX
from gateshift.errors import VideoError

LOADING_S = 4.0
LEAST_ROUNDS = 4
# Rounds of batches, one of each worker, that come before the clock runs: while they start, and fill their queue.
WARM_UPS = 2


@dataclass(frozen=True)
class LoaderRate:
    """How fast training's clips are loaded, with nothing else running.

    Attributes:
        videos_per_s: Of all workers together, once they run.
        workers: Processes that load; 0 is the main process.
        packed: Whether every video of the list is packed frames.
    """

    videos_per_s: float
    workers: int
    packed: bool

    @property
    def loader(self) -> str:
        """Who loads, in words."""
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}"


@dataclass(frozen=True)
class Bottleneck:
    """How many videos a second the parts of a training take, each alone, and which of them waits.

    Attributes:
        data: The loader.
        training_per_s: Videos a second of the training step, as ``gateshift train`` does it by default.
        inference: Name of the model's fastest form.
        inference_per_s: Videos a second of that.
    """

    data: LoaderRate
    training_per_s: float
    inference: str
    inference_per_s: float

    @property
    def where(self) -> str:
        """Which is slower: "data" or "model"."""
        return "data" if self.data.videos_per_s < self.training_per_s else "model"

    @property
    def times(self) -> float:
        """How many times faster the other one is, at least 1."""
        ratio = self.data.videos_per_s / self.training_per_s
        return max(ratio, 1 / ratio)

    def __str__(self) -> str:
        return (
            f"data: {_rounded(self.data.videos_per_s)} videos/s with {self.data.loader}; "
            f"a training step takes {_rounded(self.training_per_s)} videos/s: "
            f"the {self.where} is the bottleneck, {_rounded(self.times)} times{self._advice()}; "
            f"inference takes up to {_rounded(self.inference_per_s)} ({self.inference})"
        )

    def _advice(self) -> str:
        if self.where == "model":
            return ""
        if self.data.packed:
            return " (load with more workers if there are cores, or pack the frames smaller)"
        return " (read packed frames: prepare the list with `pack=256`)"


def measure_loader(
    manifest: Manifest, *, size_px: int, num_segments: int, batch_size: int, workers: int | None
) -> LoaderRate:
    """Load training clips of a list, over and over where it is short, for some seconds.

    Args:
        manifest: Videos, which are read as in training.
        size_px: Side of the clips.
        num_segments: T.
        batch_size: Videos of a batch.
        workers: Processes that load; None for as many as training takes by default.

    Raises:
        VideoError: If a video cannot be read.
    """
    classes = manifest.class_names()
    pairs = manifest.mirror_pairs(classes)
    rule = Augmentation(size_px, num_segments, mirror_map(classes, pairs), may_mirror(classes, pairs, "all"))
    clips = TrainingClips(manifest, classes, rule, seed=0)
    loader = make_loader(clips, batch_size=batch_size, workers=workers, sampler=_Endless(len(clips)))
    # Batches come in the order they were asked for, so those of all workers together: whole rounds are counted.
    a_round = max(loader.num_workers, 1)
    batches = iter(loader)

    def load_round() -> None:
        for batch in itertools.islice(batches, a_round):
            if batch["failures"]:
                raise VideoError(batch["failures"][0])

    for _ in range(WARM_UPS):
        load_round()
    started = time.perf_counter()
    for number in itertools.count(1):
        load_round()
        elapsed_s = time.perf_counter() - started
        if number >= LEAST_ROUNDS and elapsed_s >= LOADING_S:
            break
    packed = all(entry.path.suffix.lower() == PACKED_SUFFIX for entry in manifest.entries)
    return LoaderRate(number * a_round * batch_size / elapsed_s, loader.num_workers, packed)


def find_bottleneck(data: LoaderRate, found: Mapping[str, Sequence[Timing]], *, batch_size: int) -> Bottleneck:
    """Compare the loader with what was timed of the model.

    Args:
        data: Of :func:`measure_loader`.
        found: Of :func:`gateshift.bench.programs.bench`, with training steps.
        batch_size: Clips of one run of these.
    """
    step = next(timing for timing in found["training step"] if timing.name == TRAINED_FORM)
    fastest = min((each for each in found["inference"] if kind_of(each.name) == "model"), key=lambda each: each.seconds)
    return Bottleneck(data, batch_size / step.seconds, fastest.name, batch_size / fastest.seconds)


class _Endless(Sampler[int]):
    """Epoch after epoch, each in another order."""

    def __init__(self, length: int) -> None:
        self.order = EpochShuffle(length, seed=0)

    def __iter__(self) -> Iterator[int]:
        for epoch in itertools.count():
            self.order.epoch = epoch
            yield from self.order


def _rounded(number: float) -> str:
    """Two digits, or all before the point."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
