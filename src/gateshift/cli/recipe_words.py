"""The recipe that a command line names, and the command for each of its models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from gateshift.recipes.recipe import load_recipe


def put_recipe(words: Sequence[str]) -> dict[str, list[str]]:
    """The words of a ``train`` or ``test`` command, for each model of its recipe.

    Returns:
        The words to run, by recipe: one entry, or one for each part of a recipe of parts; the key is "" where
        the words name no recipe.

    Raises:
        SettingsError: If there is no such recipe, or it cannot be used.
    """
    name = find_option(words, "--recipe")
    if name is None:
        return {"": list(words)}
    place = next(place for place, word in enumerate(words) if word.partition("=")[0] == "--recipe")
    rest = [*words[1:place], *words[place + (1 if "=" in words[place] else 2) :]]
    return {part: [words[0], "--recipe", part, *rest] for part in load_recipe(name).parts or [name]}


def find_option(words: Sequence[str], name: str) -> str | None:
    """What the words of a command say after an option, such as ``--recipe``."""
    for word, following in zip_longest(words, words[1:]):
        option, is_joined, value = word.partition("=")
        if option == name:
            return value if is_joined else following
    return None
