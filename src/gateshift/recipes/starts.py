"""Where a training may start, by name, and the network that each of these is of. Nothing heavy is imported here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from gateshift.errors import SettingsError
from gateshift.recipes.recipe import load_recipe, recipe_names

IMAGENET, MOTION = "imagenet", "motion"
WEIGHTS = (IMAGENET, MOTION)  # which create_model knows by name
_MOTION_NETWORK = {"backbone": "tf_efficientnet_lite0", "temporal": "gsm"}
_NETWORK = ("backbone", "temporal", "num_sites", "ratio", "interleave", "causal")


def start_network(start: str | None) -> dict[str, Any]:
    """Options of the network that a named start is of; none for files, and for ImageNet, which is of any."""
    if start == MOTION:
        return dict(_MOTION_NETWORK)
    if start in recipe_names():
        return {name: value for name, value in load_recipe(str(start)).model.items() if name in _NETWORK}
    return {}


def is_published(start: str) -> bool:
    """Whether this is the name of a recipe, whose checkpoint is the start."""
    return start in recipe_names()


def check_start(start: str) -> None:
    """Raise SettingsError if this is neither a named start nor the path of a file."""
    if start in WEIGHTS:
        return
    if is_published(start):
        recipe = load_recipe(start)
        if recipe.parts:
            parts = ", ".join(recipe.parts)
            raise SettingsError(f"`start` {start}: a recipe of several models; choose one of its parts, {parts}")
        return
    path = Path(start)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return  # reading it says what is wrong with it
    known = (*WEIGHTS, *recipe_names())
    close = difflib.get_close_matches(start, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"give a file, or one of {', '.join(known)}"
    raise SettingsError(f"`start` {start}: no such start, and no file; {advice}")
