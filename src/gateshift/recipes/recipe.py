"""Recipes: the options of a published result, or of a user's own, in one TOML file.

Settings that name a recipe take its options in place of defaults, from Python and on the command line alike.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from gateshift.data.lists.tables import read_text
from gateshift.errors import SettingsError
from gateshift.recipes.options import TABLES, as_type, option_types, rename_old, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAPERS = "papers"  # the plain defaults, which the published recipes change
_HOME = resources.files("gateshift") / "recipes"


@dataclass(frozen=True)
class ProtocolOptions:
    """The test protocol of a recipe.

    Attributes:
        clips: Clips per video; None for the model's own number.
        crops: Crops per clip; None for the model's own number.
    """

    clips: int | None = None
    crops: int | None = None


@dataclass(frozen=True)
class Released:
    """A published checkpoint.

    Attributes:
        google_drive: Its id on Google Drive.
        file: Its published file name.
        tensors: Number of tensors in it.
    """

    google_drive: str
    file: str
    tensors: int


@dataclass(frozen=True)
class Recipe:
    """A published result, as options of training and testing.

    Attributes:
        name: The name that ``recipe=`` takes.
        title: Network, frames and data set in words.
        paper: Where it is published.
        dataset: The data set, as ``gateshift prepare`` calls it.
        published: Top-1 accuracy in percent; None where none is stated.
        parts: Recipes whose scores are averaged; such a recipe has no options of its own.
        model: Options of the network; ``segments`` also applies to tests.
        optim: Options of the optimization.
        augment: Options of the augmentation.
        skew: Options for class imbalance.
        frames: Options of long recordings.
        test: The test protocol.
        released: The published checkpoint; None if there is none.
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
    frames: dict[str, Any] = field(default_factory=dict)
    test: ProtocolOptions = ProtocolOptions()
    released: Released | None = None

    @property
    def network(self) -> str:
        """Backbone and temporal module, such as ``bninception gsm``; empty for a recipe of parts."""
        return f"{self.model['backbone']} {self.model['temporal']}" if {"backbone", "temporal"} <= {*self.model} else ""

    @property
    def url(self) -> str | None:
        """The address of the published checkpoint; None if there is none."""
        return None if self.released is None else f"https://drive.google.com/uc?id={self.released.google_drive}"

    def protocol(self) -> dict[str, int | None]:
        """Segments, clips and crops of a test; None for the model's own."""
        return {"segments": self.model.get("segments"), **dataclasses.asdict(self.test)}

    def class_names(self) -> list[str]:
        """The classes of the data set in the order of the released models' logits."""
        return (_HOME / "classes" / f"{self.dataset}.txt").read_text(encoding="utf-8").splitlines()


def recipe_names() -> list[str]:
    """The names of all published recipes, in order."""
    names = [file.name.removesuffix(".toml") for file in _HOME.iterdir() if file.name.endswith(".toml")]
    return sorted(names, key=lambda name: [(len(part), part) for part in name.split("-")])  # 8, 8x2, 12


def list_recipes() -> list[Recipe]:
    """All published recipes, with their networks, data sets, published accuracies and addresses.

    >>> row = list_recipes()[2]
    >>> row.name, row.network, row.published
    ('gsf-inceptionv3-16', 'inceptionv3 gsf', 53.13)
    """
    return [load_recipe(name) for name in recipe_names()]


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Read a published recipe by its name, or a ``.toml`` file by its path.

    Raises:
        SettingsError: If there is none, or its content is no recipe.
    """
    if not isinstance(name, str | os.PathLike):
        raise SettingsError(f"a recipe of type {type(name).__name__}; give its name, or the path of a .toml file")
    name = os.fspath(name)
    try:
        return _parse(name, tomllib.loads(read_recipe(name)))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"`recipe` {name}: not TOML: {error}; correct the file") from None


def load_one_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Read the recipe of a single model; see :func:`load_recipe`.

    Raises:
        SettingsError: If it has several parts, too.
    """
    recipe = load_recipe(name)
    if recipe.parts:
        raise SettingsError(
            f"`recipe` {name}: a recipe of several models; choose one of its parts, {', '.join(recipe.parts)}"
        )
    return recipe


def read_recipe(name: str) -> str:
    """The TOML text of a recipe; see :func:`load_recipe`."""
    path = Path(name)
    if name == PAPERS:
        return 'title = "The defaults of the papers, without weights"\n'
    if path.suffix == ".toml":
        if not path.is_file():
            raise SettingsError(f"`recipe` {name}: no such file; give a .toml file or the name of a published recipe")
        return read_text(path)
    if name in recipe_names():
        return (_HOME / f"{name}.toml").read_text(encoding="utf-8")
    close = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.3) or recipe_names()
    raise SettingsError(
        f"{name}: no such recipe; gateshift recipes lists them, such as {', '.join(close)}; or give a .toml file"
    )


def write_recipe(title: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """The TOML text of a recipe with these options, table by table; :func:`load_recipe` reads it.

    >>> print(write_recipe("Mine", {"optim": {"lr": 0.01, "lr_batch": None}}))
    title = "Mine"
    <BLANKLINE>
    [optim]
    lr = 0.01
    lr_batch = "None"
    <BLANKLINE>
    """
    lines = [f"title = {_toml(title)}"]
    for table, options in tables.items():
        lines += ["", f"[{table}]", *(f"{name} = {_toml(value)}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Numbers, texts, lists and booleans are written as in JSON; there is no null."""
    return json.dumps("None" if value is None else value, ensure_ascii=False)


def _parse(name: str, content: dict[str, Any]) -> Recipe:
    """Check names and types of everything in a recipe's file; ranges are checked with the settings."""

    def wrong(what: str) -> SettingsError:
        return SettingsError(f"`recipe` {name}: {what}; correct the file")

    def check_names(where: str, values: Mapping[str, Any], known: set[str]) -> None:
        for each in values:
            if each not in known:
                raise SettingsError(f"`recipe` {name}: {where}{each} is not an option; {suggest(each, known)}")

    def check_types(where: str, values: dict[str, Any], types: Mapping[str, Any]) -> None:
        for option, value in values.items():
            is_none = value == "None" and type(None) in get_args(types[option])  # TOML has no null
            try:
                values[option] = None if is_none else as_type(value, types[option])
            except TypeError as wanted:
                raise wrong(f"{where}{option} = {value!r}; it must be {wanted}") from None

    tables = {**TABLES, "test": ProtocolOptions, "released": Released}
    known = {name: kind for name, kind in option_types(Recipe).items() if name != "name"}
    check_names("", content, {*known})
    for table, options in tables.items():
        values = content.get(table, {})
        if not isinstance(values, dict):
            raise wrong(f"{table} = {values!r}; it is a table, [{table}]")
        values = rename_old(values) if table in TABLES else values
        types = option_types(options)
        check_names(f"[{table}] ", values, {*types})
        check_types(f"[{table}] ", values, types)
        if table in content:
            content[table] = values
    plain = {name: value for name, value in content.items() if name not in tables}
    check_types("", plain, known)
    content |= plain
    parts = content.pop("parts", ())
    if parts and any(content.get(table) for table in TABLES):
        raise wrong("has parts and options, but a recipe of parts has no others")
    try:
        for table, options in (("test", ProtocolOptions), ("released", Released)):
            if table in content:
                content[table] = options(**content[table])
        return Recipe(name, **content, parts=parts)
    except TypeError as error:
        raise wrong(str(error)) from None
