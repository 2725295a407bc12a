"""Recipes: the options of a published row, or of a user's own, in one readable TOML file.

A recipe is options written down: it is turned into words of the command line and put before the user's own
words, of which the last counts. So every option has one meaning and one check, and what is typed wins.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from gateshift.data.text_files import read_text
from gateshift.errors import SettingsError
from gateshift.run.train_settings import AugmentOptions, ModelOptions, OptimOptions, SkewOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES: dict[str, type[Any]] = {
    "model": ModelOptions,
    "optim": OptimOptions,
    "augment": AugmentOptions,
    "skew": SkewOptions,
}
_HOME = resources.files("gateshift") / "recipes"


@dataclass(frozen=True)
class TestOptions:
    """How a row is tested.

    Attributes:
        clips: Clips of each video; None for the model's own number.
        crops: Crops of each clip; None for the model's own number.
    """

    __test__ = False  # not a test of pytest

    clips: int | None = None
    crops: int | None = None


@dataclass(frozen=True)
class Released:
    """The checkpoint that a release publishes for a row.

    Attributes:
        google_drive: Its id on Google Drive.
        file: What the release calls it.
        tensors: How many tensors it holds.
    """

    google_drive: str
    file: str
    tensors: int


@dataclass(frozen=True)
class Recipe:
    """A row of a paper as options of ``train`` and ``test``.

    Attributes:
        name: What ``--recipe`` takes.
        title: The row in words.
        paper: Where it is published.
        dataset: The data set, as ``gateshift prepare`` calls it.
        published: Top-1 accuracy in percent; None where none is stated.
        parts: Recipes whose scores are averaged; such a recipe has no options of its own.
        model: Options of the network; ``segments`` counts in a test too.
        optim: Options of the training.
        augment: Options of the augmentation.
        skew: Options for classes of different sizes.
        test: Options of the test.
        released: The published checkpoint.
    """

    name: str
    title: str = ""
    paper: str = ""
    dataset: str = ""
    published: float | None = None
    parts: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    optim: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    skew: dict[str, Any] = field(default_factory=dict)
    test: TestOptions = TestOptions()
    released: Released | None = None

    def words(self, verb: str) -> list[str]:
        """The options of ``train`` or ``test`` that this recipe stands for, as on a command line."""
        if verb == "train":
            given = [(options, *item) for table, options in TABLES.items() for item in getattr(self, table).items()]
            return [word for options, name, value in given for word in _words(options, name, value)]
        options = {"segments": self.model.get("segments"), **dataclasses.asdict(self.test)}
        return [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]

    def class_names(self) -> list[str]:
        """The classes of the data set in the order of the released models' logits."""
        return (_HOME / "classes" / f"{self.dataset}.txt").read_text(encoding="utf-8").splitlines()


def recipe_names() -> list[str]:
    """Every published row, in order."""
    names = [file.name.removesuffix(".toml") for file in _HOME.iterdir() if file.name.endswith(".toml")]
    return sorted(names, key=lambda name: [(len(part), part) for part in name.split("-")])  # 8, 8x2, 12


def load_recipe(name: str) -> Recipe:
    """Read a recipe by the name of a published row, or by the path of a ``.toml`` file.

    Raises:
        SettingsError: If there is none, or something in it is not what a recipe holds.
    """
    try:
        content = tomllib.loads(read_recipe(name))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--recipe {name}: not TOML: {error}; correct the file") from None
    return _recipe(name, content)


def read_recipe(name: str) -> str:
    """The text of a recipe; see :func:`load_recipe`."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise SettingsError(f"--recipe {name}: no such file; give a .toml file, or the name of a published row")
        return read_text(path)
    if name in recipe_names():
        return (_HOME / f"{name}.toml").read_text(encoding="utf-8")
    close = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.3) or recipe_names()
    raise SettingsError(
        f"--recipe {name}: no such recipe; gateshift recipes lists them, such as {', '.join(close)}; "
        "or give a .toml file"
    )


def put_recipe(words: Sequence[str]) -> dict[str, list[str]]:
    """Put the options of ``--recipe`` into the words of a ``train`` or ``test`` command, before the user's own.

    Returns:
        The words to run, by recipe: one entry, or one for each part of a recipe of parts; the key is "" where
        the words name no recipe.

    Raises:
        SettingsError: If there is no such recipe, or it cannot be used.
    """
    verb, own = words[0], list(words[1:])
    place = next((i for i, word in enumerate(own) if word == "--recipe" or word.startswith("--recipe=")), None)
    if place is None or own[place:] == ["--recipe"]:
        return {"": list(words)}
    _, is_joined, name = own[place].partition("=")
    after = place + 1 if is_joined else place + 2
    recipe = load_recipe(name if is_joined else own[place + 1])
    chosen = [load_recipe(part) for part in recipe.parts] or [recipe]
    rest = own[:place] + own[after:]
    return {part.name: [verb, "--recipe", part.name, *part.words(verb), *rest] for part in chosen}


def _recipe(name: str, content: dict[str, Any]) -> Recipe:
    """Check the names of everything in a recipe's file; its values are checked as options are."""
    own = {item.name for item in dataclasses.fields(Recipe)} - {"name"}
    _check_names(name, "", content, own)
    for table, options in {**TABLES, "test": TestOptions, "released": Released}.items():
        values = content.get(table, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--recipe {name}: {table} = {values!r}; it is a table, [{table}]; correct the file")
        _check_names(name, f"[{table}] ", values, {item.name for item in dataclasses.fields(options)})
    for option, value in content.get("test", {}).items():
        if type(value) is not int:
            raise SettingsError(f"--recipe {name}: [test] {option} = {value!r}; it is a whole number; correct the file")
    parts = tuple(content.get("parts", ()))
    if parts and any(content.get(table) for table in TABLES):
        raise SettingsError(f"--recipe {name}: has parts and options; a recipe of parts has no others; split the file")
    try:
        fields = {key: value for key, value in content.items() if key not in ("parts", "test", "released")}
        released = Released(**content["released"]) if "released" in content else None
        return Recipe(name, **fields, parts=parts, test=TestOptions(**content.get("test", {})), released=released)
    except TypeError as error:
        raise SettingsError(f"--recipe {name}: {error}; correct the file") from None


def _check_names(recipe: str, where: str, values: dict[str, Any], known: set[str]) -> None:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose of {', '.join(sorted(known))}"
            raise SettingsError(f"--recipe {recipe}: {where}{name} is not an option; {hint}")


def _words(options: type[Any], name: str, value: Any) -> Sequence[str]:
    """An option and its value as words of a command line."""
    flag = f"--{name.replace('_', '-')}"
    annotation = next(item.type for item in dataclasses.fields(options) if item.name == name)
    if annotation == "bool":
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    return [flag, str(value)]
