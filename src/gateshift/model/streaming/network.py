"""Exact streaming: a network with temporal modules on a recording of any length, a few frames at a time.

The features of each frame are those of the whole recording processed as one clip, some frames later. The network's
graph (torch.fx) is run on chunks of frames: temporal modules in their streamed form, and where a branch that has passed
one meets a branch that has not, the latter is delayed. Memory does not grow with the recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from gateshift.errors import ModelError
from gateshift.model.classifier import ClipClassifier
from gateshift.model.clips import check_clips
from gateshift.model.config import ModelConfig
from gateshift.model.streaming.buffers import Clock, DelayLine, Place, kept_bytes
from gateshift.model.streaming.heads import StreamedHead
from gateshift.model.streaming.modules import streamed_form
from gateshift.model.temporal.frame_head import FrameHead
from gateshift.model.temporal.site import TemporalSite


class _Tracer(fx.Tracer):
    """Looks only into what holds temporal modules: the rest sees each frame alone and is called as it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - torch's signature
        return isinstance(m, TemporalSite) or not any(isinstance(part, TemporalSite) for part in m.modules())


class StreamedSite(nn.Module):
    """A :class:`TemporalSite` on chunks of frames; the channels beside the temporal module wait for it.

    Attributes:
        delay: How many frames later an answer comes.
    """

    def __init__(self, site: TemporalSite, place: Place) -> None:
        super().__init__()
        self.layer, self.side, self.num_gated = site.layer, site.side, site.num_gated
        self.temporal = streamed_form(site.temporal, place)
        self.delay = self.temporal.delay
        self.rest = DelayLine(self.delay) if self.delay else nn.Identity()

    def forward(self, chunk: Tensor) -> Tensor:
        if self.side == "before":
            return self.layer(self._mix(chunk))
        return self._mix(self.layer(chunk))

    def _mix(self, chunk: Tensor) -> Tensor:
        if chunk.shape[1] == self.num_gated:
            return self.temporal(chunk)
        return torch.cat((self.temporal(chunk[:, : self.num_gated]), self.rest(chunk[:, self.num_gated :])), dim=1)


def stream_network(net: nn.Module, clock: Clock) -> tuple[fx.GraphModule, int]:
    """Make the form of a network that takes a recording in chunks; its weights are shared with the network.

    Args:
        net: [N, 3, H, W] -> [N, F], in eval mode.
        clock: To be set before each call.

    Returns:
        The streamed network, [k, 3, H, W] -> [k, F], and how many frames late its answers are.

    Raises:
        ModelError: If torch.fx cannot follow the network's forward.
    """
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # a network may do anything in its forward; tracing then fails in as many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{type(net).__name__} cannot be streamed exactly, as torch.fx cannot follow its forward: {reason}; "
            "stream it in windows"
        ) from error
    streamed = fx.GraphModule(net, graph)
    delays: dict[fx.Node, int] = {}  # of every value that comes from the frames
    lines: dict[fx.Node, list[tuple[int, fx.Node]]] = {}  # behind a value: how late, and the delay line
    for node in list(graph.nodes):
        sources = [source for source in node.all_input_nodes if source in delays]
        if not sources and node.op != "placeholder":
            continue
        delays[node] = max((delays[source] for source in sources), default=0)
        for source in sources:
            if lag := delays[node] - delays[source]:
                node.replace_input_with(source, _delayed(streamed, source, lag, lines.setdefault(source, []), node))
        if node.op == "call_module" and isinstance(site := streamed.get_submodule(str(node.target)), TemporalSite):
            place = Place(clock, delays[node])
            delays[node] += _stream_site(streamed, node, StreamedSite(site, place))
    streamed.delete_all_unused_submodules()
    graph.lint()
    streamed.recompile()
    return streamed, max(delays.values())


def _delayed(
    net: fx.GraphModule, source: fx.Node, lag: int, lines: list[tuple[int, fx.Node]], user: fx.Node
) -> fx.Node:
    """A value so many frames later, by what other users of it have remembered already and one more delay line."""
    so_far, last = max((line for line in lines if line[0] <= lag), key=lambda line: line[0], default=(0, source))
    if so_far == lag:
        return last
    name = f"delay_{sum(1 for _ in net.children())}"
    net.add_submodule(name, DelayLine(lag - so_far))
    # Right before its user: what the layers between do to the value in place counts.
    with net.graph.inserting_before(user):
        node = net.graph.call_module(name, (last,))
    lines.append((lag, node))
    return node


def _stream_site(net: fx.GraphModule, node: fx.Node, site: StreamedSite) -> int:
    """Put the streamed form of a site in its place in the graph; one for each call, where a layer is called twice."""
    name = f"site_{sum(1 for _ in net.children())}"
    net.add_submodule(name, site)
    node.target = name
    return site.delay


@dataclass(frozen=True)
class FrameFeatures:
    """What a stream says of frames that follow each other.

    Attributes:
        first: Number of the first of them.
        features: [m, F], of the backbone.
        logits: [m, K], of the classifier; of a head over time [m, K + 1].
    """

    first: int
    features: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.features)


class ExactStream:
    """Features and logits of each frame of a recording, equal to those of the whole recording as one clip.

    Args:
        model: In eval mode; its weights are shared.
        with_head: Whether there are to be answers; without, logits are the features again, and come as early as these.

    Attributes:
        delay: After so many more frames the answer for a frame comes.

    Raises:
        ModelError: If the model is in training mode, or its network or its head cannot be streamed.
    """

    def __init__(self, model: ClipClassifier, *, with_head: bool = True) -> None:
        if model.training:
            raise ModelError("the model is in training mode, where frames depend on their batch; call model.eval()")
        self._model = model
        self._clock = Clock()
        self._net, delay = stream_network(model.backbone, self._clock)
        self._head: nn.Module = model.head if with_head else nn.Identity()
        self._late = DelayLine(0)  # features, as late as the answers
        if with_head and isinstance(model.head, FrameHead):
            self._head = StreamedHead(model.head, Place(self._clock, delay))
            self._late = DelayLine(self._head.delay)
            delay += self._head.delay
        self.delay = delay
        self._dtype = next(model.backbone.parameters()).dtype  # a deployed model's may be another than its head's
        self._shape: torch.Size | None = None  # of a frame
        self._last: Tensor | None = None

    @property
    def config(self) -> ModelConfig:
        """The model's."""
        return self._model.config

    @property
    def num_frames(self) -> int:
        """How many frames have come."""
        return self._clock.first

    @property
    def kept_bytes(self) -> int:
        """How much memory the frames before take, in all layers; the same however many there were."""
        return sum(map(kept_bytes, (self._net, self._head, self._late)))

    @torch.no_grad()
    def push(self, frames: Tensor) -> FrameFeatures:
        """Take the next frames.

        Args:
            frames: [k, 3, H, W], uint8 RGB or float in 0..1; any k, which may change; all of one size.

        Returns:
            What is known now: of the frames up to ``delay`` before the last one. At first of none.

        Raises:
            ModelError: If the stream was ended, or the frames have another shape.
        """
        check_clips(frames.unsqueeze(0))
        if self._clock.end is not None:
            raise ModelError("the stream was ended by flush(); make a new one for another recording")
        if self._shape not in (None, frames.shape[1:]):
            raise ModelError(
                f"frames of {list(frames.shape[1:])} after frames of {list(self._shape or ())}; "
                "all frames of a stream have one size; resize them, or make a new stream"
            )
        self._shape, self._last = frames.shape[1:], frames[-1:]
        return self._run(frames)

    @torch.no_grad()
    def flush(self) -> FrameFeatures:
        """End the recording.

        Returns:
            What is said of the last ``delay`` frames.

        Raises:
            ModelError: If no frame has come, or the stream was ended before.
        """
        if self._last is None or self._clock.end is not None:
            raise ModelError("flush() of a stream without frames, or a second one; push frames to a new stream first")
        self._clock.end = self._clock.first
        # Any frames: the temporal modules put zeros where there are none. One at a time, for the memory.
        parts = [self._run(self._last) for _ in range(max(self.delay, 1))]
        features, logits = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "logits"))
        return FrameFeatures(self._clock.end - len(features), features, logits)

    def _run(self, frames: Tensor) -> FrameFeatures:
        features = self._net(self._model.normalize(frames).to(self._dtype)).to(self._model.head_dtype)  # [k, F]
        logits, features = self._head(features), self._late(features)
        here = Place(self._clock, self.delay).present(len(frames))
        first = max(self._clock.first - self.delay, 0)
        self._clock.first += len(frames)
        return FrameFeatures(first, features[here], logits[here])
