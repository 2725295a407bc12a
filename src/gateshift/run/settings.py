"""What each verb of the command line but train can be told. The text under a field is its ``--help``.

This module imports nothing heavy, so that ``gateshift --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gateshift.data.listing import DatasetName, Edition, Task
from gateshift.run.train_settings import Precision, ShortVideos


@dataclass(frozen=True)
class TestSettings:
    """Test a model by the papers' protocol: top-1, top-5 and mean class accuracy; of several labels a video mAP and F1.

    Accuracies are printed with their protocol, segments × clips × crops, and written as JSON beside the scores.
    """

    __test__ = False  # not a test of pytest

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, an exported file, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[Path], arg(metavar="VAL")]
    """Labelled videos: a CSV, a videofolder.txt list, or a folder of class folders; for a model of several labels a
    video, a CSV."""
    recipe: str | None = None
    """A published row, see gateshift recipes, or a .toml file of yours: its segments, clips and crops.
    What is given beside it wins."""
    segments: int | None = None
    """Frames of a clip; by default as in training. Released checkpoints do not say: give it."""
    clips: int | None = None
    """Clips of each video; by default as the model says: 1, or those of its recipe."""
    crops: int | None = None
    """Crops of each clip: 1 (centre), 3 (along the long side), 5 (corners, centre) or 10 (those and mirrored);
    by default as the model says: 1, or those of its recipe."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, and of a list of numbers, one a line: the release's
    category.txt."""
    scores: Path | None = None
    """Write ids, labels, logits and classes to this .npz, and the accuracies to a .json beside it."""
    report: Annotated[Path | None, arg(metavar="FILE.html")] = None
    """Write what the test found to this page: confused classes, figures of each class, whether the probabilities come
    true, frames of the worst mistakes, and how far the views agree. It needs no other file and no network."""
    compare: Annotated[Path | None, arg(metavar="SCORES.npz")] = None
    """Compare with another model, by the scores that test wrote for it on the same videos: what changed, and McNemar's
    exact test. Printed, and told in full in the report."""
    fit_threshold: Annotated[float | None, arg(metavar="SHARE")] = None
    """Find the lowest probability from which this share of the answers is right, such as 0.95, and say how many
    videos are still answered. VAL must not be the list that was learned from."""
    out: Annotated[Path | None, arg(metavar="FILE.safetensors")] = None
    """Write MODEL to this file with that probability and this protocol: below it, predict says unsure."""
    skip_bad: int = 0
    """Go on without videos that cannot be read, up to so many: they are counted and listed. One more is an error."""
    overwrite: bool = False
    """Replace the scores file, the report and the file of --out if there are any."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    short_videos: ShortVideos = "spread"
    """Videos of at most SEGMENTS frames: spread over them, or first-frame, as the released code
    validates by mistake."""
    batch_size: int = 4
    """Videos of one forward pass."""
    precision: Precision = "no"
    """Mixed precision."""
    workers: int | None = None
    """Processes that load videos; 0 loads in the main process. By default one less than there are cores, at most 8."""

    def __post_init__(self) -> None:
        if self.recipe is not None:
            from gateshift.run.recipes import load_one_recipe

            for name, value in load_one_recipe(self.recipe).protocol().items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)


@dataclass(frozen=True)
class EnsembleSettings:
    """Average the scores of several models, video by video, and print the accuracy.

    The files must be of the same videos, labels and classes, in any order.
    """

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="SCORES.npz ...")]
    """Two or more files written by gateshift test --scores."""
    scores: Path | None = None
    """Write the averaged scores to this .npz, and the accuracies to a .json beside it."""
    overwrite: bool = False
    """Replace the scores file if there is one."""


@dataclass(frozen=True)
class ExportSettings:
    """Write a model, folded for inference and with its preprocessing inside, as a file for another runtime.

    The file is kept once its logits on the videos are those of the model. test and predict take it as a model;
    gateshift.run.runtime.Runtime runs .onnx and .xml without torch. A .pt2 file is a program: open only your own.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .safetensors model, or a released GSM, GSF or TSM checkpoint (.pth.tar)."""
    videos: Annotated[Positional[Path], arg(metavar="VAL")]
    """Labelled videos to check the file on: a CSV, a videofolder.txt list, or a folder of class folders."""
    format: Literal["torch", "onnx", "openvino"]
    """torch (.pt2, by torch.export), onnx (.onnx) or openvino (.xml and .bin)."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """File to write; by default beside MODEL, with the suffix of the format."""
    precision: Literal["float32", "bf16", "int8"] = "float32"
    """bf16 is faster where the machine computes in it, and costs digits; int8 (openvino) makes the file a quarter as
    large, and costs more digits: accuracies are printed for both."""
    calibrate: Annotated[Path | None, arg(metavar="LIST")] = None
    """Videos that int8 is fitted to, without their labels: 128, spread over the list. By default those of VAL, whose
    accuracy may then come out a little too good; the list of the training has no such fault."""
    segments: int | None = None
    """Frames of a clip, which are fixed in the file; by default as in training."""
    classes: Path | None = None
    """Names for the class numbers of a released checkpoint, and of a list of numbers, one a line: the release's
    category.txt."""
    root: Path | None = None
    """Where relative paths of the list start; its own folder by default."""
    workers: int | None = None
    """Processes that load videos; 0 loads in the main process. By default a core for each but one."""
    overwrite: bool = False
    """Replace the file if there is one."""


@dataclass(frozen=True)
class BenchSettings:
    """Time a network on this machine: as it is, deployed and exported, and one of the same backbone without modules.

    All programs run in turn, and the medians are compared with the first: the network in the order of operations
    of the released code. Relative errors of the logits are told too.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A .safetensors model, a released checkpoint (.pth.tar), or the name of a backbone, for random weights."""
    temporal: str = "gsm"
    """Temporal module; for a backbone alone."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module; for a backbone alone. By default the family's."""
    segments: int | None = None
    """Frames of a clip; by default as in training, or 8."""
    batch_size: int = 1
    """Clips of one run."""
    rounds: int = 9
    """How often each program is run."""
    threads: int | None = None
    """CPU threads; by default torch's own choice."""
    training: bool = False
    """Time training steps too."""
    compile: bool = False
    """Time compiled programs too, which take minutes to get ready."""
    others: bool = False
    """Time torchvision's video networks too, each on as many clips of 16 frames: seconds for each run of one."""
    videos: Annotated[Path | None, arg(metavar="LIST")] = None
    """Say too whether these videos or the model slow a training down, and by how much: how many are loaded in a second,
    as train does, when nothing else runs, and how many the model takes. Times training steps too."""
    root: Path | None = None
    """Where relative paths of LIST start; its own folder by default."""
    workers: int | None = None
    """Processes that load LIST; 0 loads in the main process. By default one less than there are cores, at most 8."""
    csv: Path | None = None
    """Write the table to this .csv too."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the ratios to this .png or .svg too."""
    overwrite: bool = False
    """Replace these files if there are some."""


@dataclass(frozen=True)
class InspectSettings:
    """Show where temporal modules go in a network, and what they cost.

    Prints each site, its channels and how many of them the module moves, and parameters and multiply-adds of a frame,
    before and after. For a backbone of no known family, prints the convolutions that can be named as sites=[...]
    to gateshift.insert_temporal, and the exit code is 2. Nothing is downloaded.
    """

    net: Annotated[Positional[str], arg(metavar="BACKBONE|MODEL")]
    """bninception, inceptionv3, a timm name, torchvision/NAME, or a .safetensors model or released checkpoint
    (.pth.tar)."""
    temporal: str | None = None
    """Temporal module: gsm, gsf, tsm or none; by default that of MODEL, and gsm for a backbone."""
    num_sites: int | None = None
    """How many of the sites get a module, the last ones; by default as many as in MODEL, and all in a backbone."""
    ratio: float | None = None
    """Share of the channels at each site that go through the module; by default that of MODEL, or the family's."""
    segments: int | None = None
    """Frames of the clip whose cost is counted; by default as in training, or 8."""
    size: int | None = None
    """Side of the input square in pixels; the network's own by default."""


@dataclass(frozen=True)
class DemoSettings:
    """Show on this machine that gate-shift knows the order of events, in a few minutes.

    Draws a small data set of mp4 files whose classes are each other played backwards, trains a small network
    on them with gate-shift and without, tests both on unseen clips, and leaves demo.png and demo.json.
    """

    out: Path = Path("demo")
    """Folder to write; it must not exist."""
    seed: int = 0
    """Another seed draws other clips and starts from other weights."""
    workers: int = 1
    """Processes that load videos beside the training."""


@dataclass(frozen=True)
class PrepareSettings:
    """Make lists for training from a published data set as it was downloaded, or from class folders.

    Reads the data set's own annotation files, checks that each listed video is there and has frames, and writes
    train.csv, val.csv, classes.txt and mirror_pairs.csv to DIR. If videos are missing or broken, they are named,
    nothing is written, and the exit code is 1.

    ROOT is the data set's folder. In it are expected, under the official names:

    something-v1: something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg

    something-v2: [something-something-v2-]{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

    jester: jester-v1-{labels,train,validation}.csv, 20bn-jester-v1/ID/00001.jpg

    diving48: Diving48_[V2_]{train,test}.json, Diving48_vocab.json, rgb/NAME.mp4

    kinetics: train.csv, val.csv or validate.csv, {train,val}/[CLASS/]ID_000001_000011.mp4 or ID.mp4

    epic-kitchens-100: EPIC_100_{train,validation,verb_classes,noun_classes}.csv, P01/videos/P01_01.MP4

    folder: train/CLASS/VIDEO and val/CLASS/VIDEO (Valid, validation, test ... will do), or CLASS/VIDEO, which is then
    split by --val-share
    """

    dataset: Annotated[Positional[DatasetName], arg(metavar="DATASET")]
    """something-v1, something-v2, jester, diving48, kinetics, epic-kitchens-100 or folder."""
    root: Annotated[Positional[Path], arg(metavar="ROOT")]
    """Folder of the data set; videos can also lie directly in it."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder to write."""
    annotations: Path | None = None
    """Folder of the annotation files; ROOT by default."""
    edition: Edition | None = None
    """Labels of diving48: needed if both editions are there. v2 is the corrected one."""
    task: Task | None = None
    """What a class of epic-kitchens-100 is: its verb, its noun, or both, such as "take plate". Needed there."""
    val_share: float = 0.2
    """Share of each class that goes to val, for a folder that is not split. The same in each run."""
    group_pattern: Annotated[str | None, arg(metavar="REGEX")] = None
    """Keep videos of one person or recording on one side: what this regular expression, or its parentheses, matches in
    CLASS/VIDEO is the video's group, as P[0-9]+ finds P07 in wave/P07_3.mp4. For folder; where that is split, it
    checks the split."""
    allow_missing: bool = False
    """Leave out videos that are missing or broken, and list them in missing.csv."""
    exclude: Annotated[Path | None, arg(metavar="FILE.csv")] = None
    """Leave out the videos in its column path, as scan writes it; parts of videos stay."""
    extract_frames: bool = False
    """Write every frame as JPEG to DIR/frames/ID/00001.jpg, and list these folders. A run that was stopped
    goes on where it was."""
    pack: Annotated[int | None, arg(metavar="PX")] = None
    """Write the frames of each video, their short side at most PX pixels (256 suits most networks), to one file,
    DIR/packed/ID.zip, and list these: several times faster to train from than videos. A run that was stopped goes
    on where it was."""
    keep_squashed: bool = False
    """With --pack or --extract-frames: write frames whose pixels are not square as they are stored. Otherwise they are
    resized, so that they look as players show them."""
    overwrite: bool = False
    """Replace the lists in DIR. Whole folders and files of frames stay; delete DIR/frames or DIR/packed to write
    them anew."""
    workers: int | None = None
    """Videos that are read at a time; by default as many as there are cores."""


@dataclass(frozen=True)
class RecipesSettings:
    """List the published rows that train and test reproduce with --recipe, or print one.

    A printed recipe saved as a .toml file and edited is a recipe too: --recipe my.toml.
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None
    """The recipe to print."""
    cost: bool = False
    """List instead what each published network costs at its input size, without and with its temporal modules."""


@dataclass(frozen=True)
class DownloadSettings:
    """Fetch models that the GSM and GSF papers' releases publish, as files of ours.

    Each is checked, gets its class names and test protocol, and is written as OUT/NAME.safetensors. A download that was
    interrupted goes on when it is started again. A file that you have already is taken from OUT, under its
    published name.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME ...")]
    """Names of recipes, see gateshift recipes."""
    out: Path = Path("models")
    """Folder to write."""
    url: str | None = None
    """Where to fetch one model from, instead of the release's place on Google Drive."""
