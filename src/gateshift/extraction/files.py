"""Files of features: what each video's is called, and how it is written row by row, whatever its length."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from gateshift.data.video.sources import is_address
from gateshift.errors import SettingsError, VideoError
from gateshift.extraction.network import Rows
from gateshift.files import atomic_write, write_text
from gateshift.model.io import METADATA_KEY
from gateshift.prediction.cluster import list_videos

TIMES_SUFFIX = ".times.json"  # beside an .npy


def name_videos(sources: Sequence[str | os.PathLike[str]]) -> dict[str, str]:
    """The videos meant by files, folders, addresses and lists of these, by the names of their files of features.

    A name is the path in the folder that was given, or beside the list, without suffix; else the name of the video.

    Raises:
        ManifestError: If a list cannot be read.
        SettingsError: If two videos have one name.
        VideoError: If there are no videos.
    """
    named: dict[str, str] = {}
    for source in [os.fspath(source) for source in sources]:
        base = Path(source) if os.path.isdir(source) else Path(source).parent  # noqa: PTH112 - Path.is_dir raises
        for video in list_videos([source]):
            name = _name_of(video, base)
            if named.setdefault(name, video) != video:
                raise SettingsError(
                    f"{named[name]} and {video} are both called {name}; rename one, give their common folder, or "
                    "another `out` for one"
                )
    if not named:
        raise VideoError("no video named; name files, folders, addresses or lists of them")
    return named


def _name_of(video: str, base: Path) -> str:
    if is_address(video):
        return PurePosixPath(video.partition("?")[0].partition("#")[0]).stem
    path = Path(video)
    inside = path.relative_to(base) if path.is_relative_to(base) and path != base else Path(path.absolute().name)
    if ".." in inside.parts:
        inside = Path(inside.name)
    is_folder = os.path.isdir(path)  # noqa: PTH112 - of frames, whose name may have a dot
    return (inside if is_folder else inside.with_suffix("")).as_posix()


def write_features(path: Path, rows: Iterator[Rows], num_rows: int, about: dict[str, Any]) -> None:
    """Write a file of features, and beside an .npy what is known of it; both appear when they are whole.

    Args:
        path: Ends with .npy or .safetensors. Its folder is made if need be.
        rows: float32 [n, F], as they come.
        num_rows: Of all of them together.
        about: What is known of them, as JSON values.

    Raises:
        VideoError: If making the rows does, or there are more or fewer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("wb") as file:
        done = 0
        for part in rows:
            if not done:
                about = {**about, "shape": [num_rows, part.shape[1]]}
                (_begin_npy if path.suffix == ".npy" else _begin_safetensors)(file, about)
            file.write(part.astype("<f4", copy=False).tobytes())
            done += len(part)
        if done != num_rows:
            raise VideoError(f"{about['video']}: gave {done} rows and not {num_rows}; its header may be wrong")
        if path.suffix == ".npy":
            write_text(path.with_suffix(TIMES_SUFFIX), json.dumps(about) + "\n", errors="backslashreplace")


def _begin_npy(file: IO[bytes], about: dict[str, Any]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(about["shape"])}
    np.lib.format.write_array_header_1_0(file, header)


def _begin_safetensors(file: IO[bytes], about: dict[str, Any]) -> None:
    num_bytes = 4 * about["shape"][0] * about["shape"][1]
    tensor = {"dtype": "F32", "shape": about["shape"], "data_offsets": [0, num_bytes]}
    header = json.dumps({"__metadata__": {METADATA_KEY: json.dumps(about)}, "features": tensor}).encode()
    header += b" " * (-len(header) % 8)  # so that what follows lies as memory wants it
    file.write(len(header).to_bytes(8, "little") + header)
