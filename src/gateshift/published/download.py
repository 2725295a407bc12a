"""Fetch the models that the papers' releases publish, check them, and make them bundles of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.errors import GateShiftError, ModelError, SettingsError
from gateshift.model.checkpoints import read_weights
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import ModelConfig
from gateshift.model.io import load_model, save_model
from gateshift.model.released import find_state, only_tensors
from gateshift.recipes.recipe import Recipe, Released, load_recipe, recipe_names

OnBytes = Callable[[int, int | None], None]
TIMEOUT_S = 60
RETRIES = 3


def find_downloads(names: tuple[str, ...]) -> list[Recipe]:
    """The recipes with a published checkpoint that are meant by names; one of parts stands for its parts.

    Raises:
        SettingsError: If no name is given, or one has nothing to download.
    """
    if not names:
        known = ", ".join(name for name in recipe_names() if load_recipe(name).released)
        raise SettingsError(f"no model named; name one or more of {known}")
    found: dict[str, Recipe] = {}
    for name in names:
        recipe = load_recipe(name)
        for part in map(load_recipe, recipe.parts) if recipe.parts else [recipe]:
            if part.released is None:
                raise SettingsError(f"{part.name}: has no published model; choose of {', '.join(recipe_names())}")
            found[part.name] = part
    return list(found.values())


def download(recipe: Recipe, folder: Path, *, url: str | None = None, on_bytes: OnBytes | None = None) -> Path:
    """Fetch a row's published checkpoint and convert it; what is there already is not fetched again.

    The checkpoint stays in the folder under its published name, as other rows may share it. A fetch that was
    interrupted goes on where it stopped when it is called again.

    Args:
        recipe: A row with a published checkpoint.
        folder: Where to write; made if need be.
        url: Where to fetch from instead of the release's place on Google Drive.
        on_bytes: Called with how many bytes there are so far, and of how many if that is known.

    Returns:
        ``folder/NAME.safetensors``: a whole model with class names and test protocol.

    Raises:
        ModelError: If the file cannot be fetched, or is not the published one.
    """
    released = recipe.released
    if released is None:
        raise ModelError(f"{recipe.name}: has no published model")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / released.file
    fetched = not source.exists()
    if fetched:
        _fetch(released, source, url, on_bytes)
    try:
        model, config = _check(recipe, released, source)
    except ModelError as error:
        if fetched:
            source.unlink()
        done = "it was removed" if fetched else "remove it"
        raise ModelError(
            f"{error}; {done}: put the file of {recipe.name} at {source}, or name its address by --url"
        ) from None
    target = folder / f"{recipe.name}.safetensors"
    save_model(model, target, config=config)
    return target


def _fetch(released: Released, source: Path, url: str | None, on_bytes: OnBytes | None) -> None:
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
        reason = " ".join(str(error).split())
        where = f"Google Drive file {released.google_drive}" if url is None else url
        raise ModelError(
            f"{where} cannot be fetched: {reason}. Run this again to go on; "
            f"or get the file by other means and put it at {source}, or name another address by --url"
        ) from error


def _check(recipe: Recipe, released: Released, source: Path) -> tuple[VideoClassifier, ModelConfig]:
    """Load a checkpoint and see that it is the published one; say its class names and protocol.

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
