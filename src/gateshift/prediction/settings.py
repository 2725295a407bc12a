"""The options of ``predict``; the text under a field is its ``--help``. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.data.labelling.programs import Program
from gateshift.devices import AnyPrecision
from gateshift.errors import SettingsError

_TIMEOUT_S = 300.0
_OF_WINDOWS = ("window", "hop", "smooth", "enter", "leave")


@dataclass(frozen=True)
class StreamOptions:
    """What happens when: in a live stream, or in a long recording."""

    stream: bool = False
    """Classify a live stream: one camera (/dev/video0), address (rtsp://, http://) or file. A file gives every frame;
    of a camera or an address, frames for which there is no time are dropped and counted."""
    exact: bool = False
    """With --stream, answer every frame as in the whole recording as one clip, a fixed number of frames late; at once
    with a model trained with --causal. Without it, windows are classified."""
    timeline: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write what happens when in one long video file: .json, .csv, or subtitles as .srt or .vtt."""
    window: Annotated[float, arg(metavar="SECONDS")] = 2.0
    """Length of a window, of which a clip of SEGMENTS frames is classified."""
    hop: Annotated[float, arg(metavar="SECONDS")] = 0.5
    """Time from one window to the next."""
    smooth: int = 1
    """Average this many answers: the last ones of a stream, an odd number around each in a timeline."""
    enter: float = 0.5
    """A class begins when its probability reaches this; before, nothing happens."""
    leave: float = 0.4
    """A class ends when its probability falls below this."""
    events: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the events of one file to the frame, found by a model of events (train --task spot): .csv, .json, or
    subtitles as .srt or .vtt."""
    format: Program | None = None
    """With --timeline or --events, write the file of this labelling program, to be corrected there: boris, elan,
    label-studio, cvat, via, create-ml, soccernet or e2e-spot."""
    threshold: float = 0.5
    """With --events, the least score of an event."""
    suppress: Annotated[float, arg(metavar="SECONDS")] = 0.2
    """Events within so many seconds of a better one of their class are dropped; in a stream of events too."""
    suppression: Literal["e2e-spot", "greedy", "soft"] = "e2e-spot"
    """With --events, how they are dropped: e2e-spot (dropped ones count too), greedy, or soft (scores are lowered)."""
    fps: float | None = None
    """Frames a second of a source that does not say, such as a folder of images."""
    overwrite: bool = False
    """Replace the file that is written, if there is one."""

    def check(self, *, has_tracks: bool) -> None:
        """Raise SettingsError if these contradict each other, or do not go with tracks."""
        if self.stream and (self.timeline or self.events) is not None:
            name, what = ("events", "they are") if self.timeline is None else ("timeline", "a timeline is")
            raise SettingsError(f"`stream=True` and `{name}` exclude each other; {what} of a file; leave one out")
        if self.timeline is not None and self.events is not None:
            raise SettingsError("`timeline` and `events` exclude each other; leave one out")
        if self.exact and not self.stream:
            raise SettingsError("`exact=True` was given without `stream=True`; it is a kind of stream; add that")
        given = [option.name for option in fields(self) if getattr(self, option.name) != option.default]
        if has_tracks:
            for name in (name for name in given if name != "overwrite"):
                raise SettingsError(f"`{name}` with `tracks`, each of which has one answer; leave one out")
            return
        if given and not self.stream and (self.timeline or self.events) is None:
            raise SettingsError(
                f"`{given[0]}` was given without `stream=True`, `timeline` or `events`; add one, or leave it out"
            )
        if self.format is not None and (self.timeline or self.events) is None:
            raise SettingsError(f"`format={self.format}` was given without `timeline` or `events`; add one")
        unfit = [name for name in given if name in ("threshold", "suppression") and self.events is None]
        if unfit:
            raise SettingsError(f"`{unfit[0]}` was given without `events`; add it, or leave it out")
        for kind, is_asked, ignored, why in (
            ("events", self.events is not None, _OF_WINDOWS, "which are single frames that reach `threshold`"),
            ("timeline", self.timeline is not None, ("suppress",), "and it is of events"),
            ("exact=True", self.exact, ("window", "hop"), "which answers every frame"),
        ):
            for name in given if is_asked else ():
                if name in ignored:
                    raise SettingsError(f"`{name}` was given with `{kind}`, {why}; leave it out")


@dataclass(frozen=True)
class ClusterOptions:
    """Very many videos: on all cores and GPUs of this machine, or of a cluster."""

    engine: Literal["here", "ray"] = "here"
    """Where videos are classified: here, or by Ray on all cores and GPUs, or on the cluster at RAY_ADDRESS. A job that
    was stopped goes on, given the same again. With Ray, VIDEO may also be a list (a .txt with a video a line, a .csv
    with a column path) or an address (s3://, http://, file:// and others of fsspec)."""
    out: Annotated[Path | None, arg(metavar="FOLDER|FILE")] = None
    """With Ray, the job's folder: what is done, and in the end predictions.jsonl, with the records of --json. With
    --tracks, a .csv or .json to write."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = _TIMEOUT_S
    """With Ray, how long fetching and decoding one video may take."""

    def check(self, *, has_tracks: bool) -> None:
        """Raise SettingsError if these contradict each other; ``out`` may be a file of tracks, too."""
        if self.engine == "ray" and has_tracks:
            raise SettingsError("`tracks` with `engine=ray`, which takes very many whole videos; leave one out")
        if self.engine == "ray" and self.out is None:
            raise SettingsError("`engine=ray` was given without `out`; it needs a folder for the records; add that")
        if self.engine == "here" and self.out is not None and not has_tracks:
            raise SettingsError(
                f"`out` {self.out} was given without `engine=ray` or `tracks`; add one, or use `json=True` > FILE"
            )
        if self.engine == "here" and self.timeout != _TIMEOUT_S:
            raise SettingsError(f"`timeout` {self.timeout:g} was given without `engine=ray`; leave it out")


@dataclass(frozen=True)
class TrackOptions:
    """Several persons in one video, whom a tracker of yours has followed: an answer for each."""

    tracks: Annotated[Path | None, arg(metavar="FILE.csv")] = None
    """Boxes of persons, frame,x0,y0,x1,y1,id: frames count from 0, boxes are in pixels. Of each id the network sees a
    square that goes with the person, in the frames in which it is seen."""
    margin: float = 0.25
    """With --tracks, how much longer the side of a square is than the longest side of the person's boxes."""

    def check(self, settings: PredictSettings) -> None:
        """Raise SettingsError if options do not go with tracks, or are of tracks and there are none."""
        if self.tracks is None:
            if self.margin != TrackOptions.margin:
                raise SettingsError(f"`margin` {self.margin:g} was given without `tracks`; add them, or leave it out")
            return
        if len(settings.videos) != 1:
            raise SettingsError(f"{len(settings.videos)} videos were named; `tracks` are of one; run it for each")
        for name in ("box", "workers"):
            if getattr(settings, name) is not None:
                why = "each person has a square" if name == "box" else "a video is decoded as its persons are seen"
                raise SettingsError(f"`{name}` {getattr(settings, name)} with `tracks`, where {why}; leave it out")


@dataclass(frozen=True)
class PredictSettings:
    """Classify videos.

    Prints a table, or with --json one JSON record a line, as soon as it is known: {"video", "label", "top": [{"class",
    "probability"}], "error"}, where "label" is null if the model is unsure; with --stream also "start_s", "end_s",
    "start_frame" and "end_frame", and "label" is null while nothing happens; with --tracks "id", "first_frame",
    "last_frame", "num_frames", "start_s" and "end_s".
    A video that cannot be read gets a record with its error, and the exit code is then 2.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, an exported file, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO|FOLDER|CAMERA|URL ...")]
    """Video files, also at http:// and https:// addresses (up to 2 GiB), folders of frames, or folders with videos at
    any depth; with --stream a camera or an address."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, one a line: the release's category.txt."""
    top: int = 5
    """How many classes to name."""
    json: bool = False
    """Print JSON records instead of a table."""
    segments: int | None = None
    """Frames per clip; by default as in training. Released checkpoints do not say: give it."""
    clips: int | None = None
    """Clips per video; by default as the model says. A window is one clip."""
    crops: int | None = None
    """Crops per clip: 1, 3, 5 or 10; by default as the model says. A window has one."""
    precision: AnyPrecision = "no"
    """no is float32. bf16 costs digits and is faster where the machine multiplies in it; fp16 needs a GPU. auto is bf16
    where that is faster here, and gives the first 16 clips the classes of float32."""
    box: Annotated[str | None, arg(metavar="X0,Y0,X1,Y1")] = None
    """Region of the picture, of a fixed camera: shares of it, as 0.1,0.2,0.6,0.9, or pixels, as 120,80,520,460; 0,0,1,1
    for all of it. By default the model's own."""
    batch_size: int = 4
    """Videos of one forward pass, each with all of its clips and crops."""
    workers: int | None = None
    """Threads that decode the next videos while the network runs; 0 decodes between its runs. By default one fewer than
    there are cores, at most 8."""
    people: TrackOptions = field(default_factory=TrackOptions)
    live: StreamOptions = field(default_factory=StreamOptions)
    cluster: ClusterOptions = field(default_factory=ClusterOptions)

    def check(self) -> None:
        """Raise SettingsError if options contradict each other."""
        has_tracks = self.people.tracks is not None
        self.people.check(self)
        self.live.check(has_tracks=has_tracks)
        self.cluster.check(has_tracks=has_tracks)
        if self.cluster.engine == "ray":
            given_too = {"stream": self.live.stream, "timeline": self.live.timeline is not None, "json": self.json}
            given_too["events"] = self.live.events is not None
            for name in (name for name, is_given in given_too.items() if is_given):
                raise SettingsError(f"`{name}` was given with `engine=ray`, which writes JSON to `out`; leave one out")
        if self.precision != "no" and (self.live.stream or self.cluster.engine == "ray"):
            raise SettingsError(f"`precision={self.precision}`: a stream and Ray answer in float32; leave it out")
        is_of_one = self.live.stream or (self.live.timeline or self.live.events) is not None
        if is_of_one or self.cluster.engine == "ray":
            for name, default in (("batch_size", PredictSettings.batch_size), ("workers", PredictSettings.workers)):
                if getattr(self, name) != default:
                    why = "it is for many videos, of which one was named" if is_of_one else "`engine=ray` has its own"
                    raise SettingsError(f"`{name}` {getattr(self, name)} was given, but {why}; leave it out")
        if not is_of_one:
            return
        if len(self.videos) != 1:
            names = "`stream=True`, `timeline` and `events`"
            raise SettingsError(f"{len(self.videos)} videos were named; {names} take one; run it for each")
        given = {"clips": self.clips, "crops": self.crops, "segments": self.segments if self.live.exact else None}
        for name, value in given.items():
            if value is not None:
                kind = "an exact stream has no clips" if name == "segments" else "a window is one clip with one crop"
                raise SettingsError(f"`{name}` {value} was given, but {kind}; leave it out")
