"""Download the published models of the papers, check them, and convert them to files of ours."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.errors import GateShiftError, ModelError, SettingsError, one_line
from gateshift.model.checkpoints import read_weights
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.io import load_model, save_model
from gateshift.model.released import find_state, only_tensors
from gateshift.recipes.recipe import Recipe, Released, list_recipes, load_recipe, recipe_names

TIMEOUT_S = 60
RETRIES = 3


def find_downloads(names: Sequence[str], *, url: str | None = None) -> list[Recipe]:
    """The recipes with a published checkpoint; one of several models stands for its parts.

    Raises:
        SettingsError: If no name is given, one has nothing to download, or ``url`` is given for several.
    """
    if not names:
        known = ", ".join(recipe.name for recipe in list_recipes() if recipe.released)
        raise SettingsError(f"no model named; name one or more of {known}")
    found: dict[str, Recipe] = {}
    for name in names:
        recipe = load_recipe(name)
        for part in map(load_recipe, recipe.parts) if recipe.parts else [recipe]:
            if part.released is None:
                raise SettingsError(f"{part.name}: has no published model; choose from {', '.join(recipe_names())}")
            found[part.name] = part
    if url is not None and len(found) > 1:
        raise SettingsError(f"`url` is the address of one model, and {len(found)} are named; name one")
    return list(found.values())


def download(
    name: str,
    out: str | os.PathLike[str] = "models",
    *,
    url: str | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download the published checkpoint of a recipe and convert it; an existing file is not downloaded again.

    The checkpoint stays in the folder under its published name, as several recipes may share it. An interrupted
    download is resumed by the next call.

    Args:
        name: A recipe with a published checkpoint, see :func:`gateshift.recipes.recipe.list_recipes`.
        out: Folder to write; made if need be.
        url: Address to download from, instead of the release's place on Google Drive.
        on_bytes: Called with the number of bytes so far, and the total if it is known.

    Returns:
        ``out/NAME.safetensors``: a whole model with class names and test protocol.

    Raises:
        SettingsError: If there is no such recipe, or it has no checkpoint of its own.
        ModelError: If the file cannot be downloaded, or is not the published one.
    """
    recipe, *others = find_downloads([name])
    released = recipe.released
    if others or released is None:
        parts = ", ".join(each.name for each in (recipe, *others))
        raise SettingsError(f"{name}: a recipe of several models; download each of {parts}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / released.file
    is_new = not source.exists()
    if is_new:
        _fetch(released, source, url, on_bytes)
    try:
        model, config = _load_published(recipe, released, source)
    except ModelError as error:
        if is_new:
            source.unlink()
        advice = "it was removed" if is_new else "remove it"
        raise ModelError(
            f"{error}; {advice}: put the file of {name} at {source}, or give its address by `url`"
        ) from None
    target = folder / f"{recipe.name}.safetensors"
    save_model(model, target, config=config)
    return target


def fetch_published(name: str) -> Path:
    """The model of a recipe, downloaded into torch's own cache where it is not there yet; see :func:`download`.

    Raises:
        ModelError: If it cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "gateshift"
    model = folder / f"{name}.safetensors"
    return model if model.exists() else download(name, folder)


def _fetch(
    released: Released, source: Path, url: str | None, on_bytes: Callable[[int, int | None], None] | None
) -> None:
    """Write ``source``, which appears when it is whole; until then its bytes are kept beside it."""
    import gdown

    try:
        gdown.download(
            url=url,
            id=released.google_drive if url is None else None,
            output=str(source),
            quiet=True,
            resume=True,
            use_cookies=url is None,
            timeout=TIMEOUT_S,
            retries=RETRIES,
            progress=on_bytes,
        )
    except (gdown.exceptions.DownloadError, OSError) as error:  # what requests raises is an OSError
        where = f"Google Drive file {released.google_drive}" if url is None else url
        raise ModelError(
            f"{where} cannot be downloaded: {one_line(error)}. Try again to resume; "
            f"or get the file by other means and put it at {source}, or give another address by `url`"
        ) from error


def _load_published(recipe: Recipe, released: Released, source: Path) -> tuple[VideoClassifier, ModelConfig]:
    """Load a checkpoint, check that it is the published one, and say its class names and protocol.

    Raises:
        ModelError: If it is damaged, or of another network.
    """
    tensors = len(only_tensors(find_state(read_weights(source))))
    try:
        model = load_model(source)
    except GateShiftError as error:
        raise ModelError(str(error)) from None
    config, classes = model.config, tuple(recipe.class_names())
    found = (config.backbone, config.temporal, len(config.classes), tensors)
    expected = (
        str(recipe.model["backbone"]).split(".")[0],
        recipe.model["temporal"],
        len(classes),
        released.tensors,
    )
    if found != expected:
        described = "{} with {}, {} classes, {} tensors".format
        raise ModelError(f"{source}: is {described(*found)}, but {recipe.name} is {described(*expected)}")
    return model, dataclasses.replace(
        config.name_classes(classes),
        num_segments=recipe.model["segments"],
        num_clips=recipe.test.clips or 1,
        num_crops=recipe.test.crops or 1,
        mirror_pairs=find_mirror_pairs(classes),
    )
