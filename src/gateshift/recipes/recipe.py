"""Recipes: the options of a published row, or of a user's own, in one readable TOML file.

A recipe is options written down: settings that name one have its options where none were given, from Python and on the
command line alike.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gateshift.data.lists.tables import read_text
from gateshift.errors import SettingsError
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions

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
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    tuple[str, ...]: "a list of texts",
}
_HOME = resources.files("gateshift") / "recipes"


@dataclass(frozen=True)
class ProtocolOptions:
    """How a row is tested.

    Attributes:
        clips: Clips of each video; None for the model's own number.
        crops: Crops of each clip; None for the model's own number.
    """

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
    test: ProtocolOptions = ProtocolOptions()
    released: Released | None = None

    def protocol(self) -> dict[str, int | None]:
        """The options of ``test`` that this recipe stands for; None for the model's own."""
        return {"segments": self.model.get("segments"), **dataclasses.asdict(self.test)}

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


def load_one_recipe(name: str) -> Recipe:
    """Read a recipe of a single model; see :func:`load_recipe`.

    Raises:
        SettingsError: If it is one of several, too.
    """
    recipe = load_recipe(name)
    if recipe.parts:
        raise SettingsError(
            f"--recipe {name}: a recipe of several models, and these are settings of one; take each by itself: "
            f"{', '.join(recipe.parts)}"
        )
    return recipe


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
    """The words of a ``train`` or ``test`` command, for each model of its recipe.

    Returns:
        The words to run, by recipe: one entry, or one for each part of a recipe of parts; the key is "" where
        the words name no recipe.

    Raises:
        SettingsError: If there is no such recipe, or it cannot be used.
    """
    name = find_recipe(words)
    if name is None:
        return {"": list(words)}
    place = next(place for place, word in enumerate(words) if word.partition("=")[0] == "--recipe")
    rest = [*words[1:place], *words[place + (1 if "=" in words[place] else 2) :]]
    return {part: [words[0], "--recipe", part, *rest] for part in load_recipe(name).parts or [name]}


def find_recipe(words: Sequence[str]) -> str | None:
    """The recipe that the words of a command name."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        option, is_joined, name = word.partition("=")
        if option == "--recipe":
            return name if is_joined else following
    return None


def _recipe(name: str, content: dict[str, Any]) -> Recipe:
    """Check the names of everything in a recipe's file; its values are checked as options are."""
    own = {item.name for item in dataclasses.fields(Recipe)} - {"name"}
    _check_names(name, "", content, own)
    for table, options in {**TABLES, "test": ProtocolOptions, "released": Released}.items():
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
        fields |= {table: _checked(name, table, content[table]) for table in TABLES if table in content}
        released = Released(**content["released"]) if "released" in content else None
        return Recipe(name, **fields, parts=parts, test=ProtocolOptions(**content.get("test", {})), released=released)
    except TypeError as error:
        raise SettingsError(f"--recipe {name}: {error}; correct the file") from None


def _check_names(recipe: str, where: str, values: dict[str, Any], known: set[str]) -> None:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose of {', '.join(sorted(known))}"
            raise SettingsError(f"--recipe {recipe}: {where}{name} is not an option; {hint}")


def _checked(recipe: str, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a table as the settings hold them."""
    hints = get_type_hints(TABLES[table])
    checked: dict[str, Any] = {}
    for name, value in values.items():
        allowed = set(get_args(hints[name])) if get_origin(hints[name]) is UnionType else {hints[name]}
        if value == "None" and type(None) in allowed:
            checked[name] = None
            continue
        (kind,) = allowed - {type(None)}
        try:
            checked[name] = _as_kind(value, kind)
        except TypeError:
            wanted = _KINDS.get(kind) or f"one of {', '.join(get_args(kind))}"
            raise SettingsError(
                f"--recipe {recipe}: [{table}] {name} = {value!r}; it is {wanted}; correct the file"
            ) from None
    return checked


def _as_kind(value: Any, kind: Any) -> Any:
    """A value of a TOML file as one of a Python type; TypeError if it is of another."""
    if get_origin(kind) is Literal:
        fits = value in get_args(kind)
    elif kind == tuple[str, ...]:
        fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
    else:
        fits = type(value) in {float: (int, float), Path: (str,)}.get(kind, (kind,))
    if not fits:
        raise TypeError
    return value if get_origin(kind) is Literal else tuple(value) if kind == tuple[str, ...] else kind(value)
