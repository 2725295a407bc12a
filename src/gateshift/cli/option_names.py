"""Arguments of the library as options of the command line: the one place where messages are translated.

The library names an argument as Python does, in backticks: `` `batch_size` ``, `` `overwrite=True` ``,
`` `segments=8` ``. Here these become ``--batch-size``, ``--overwrite``, ``--segments 8``; what is given by its place
is called by its metavar, such as ``TRAIN``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\n]+))?`")
_POSITIONAL = get_args(Positional[int])[1]  # the mark that it leaves on a type


@dataclass(frozen=True)
class Option:
    """How the command line writes one argument.

    Attributes:
        spelling: Such as ``--batch-size``, or the metavar, such as ``TRAIN``, of what is given by its place.
        is_switch: Whether it is on or off, without a value: ``--balanced`` and ``--no-balanced``.
        choices: The values that it takes, where these are named; else empty.
        kinds: The types of its one value, NoneType among them where it may be None; empty for any other option.
    """

    spelling: str
    is_switch: bool = False
    choices: tuple[str, ...] = ()
    kinds: tuple[type[Any], ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every word that gives it; none for what is given by its place."""
        if not self.spelling.startswith("--"):
            return ()
        return (self.spelling, f"--no-{self.spelling[2:]}") if self.is_switch else (self.spelling,)


def options_of(settings: type[Any]) -> dict[str, Option]:
    """The options of a verb by the names of their fields, those of nested settings too.

    >>> from gateshift.training.settings import TrainSettings
    >>> options = options_of(TrainSettings)
    >>> options["train"].spelling, options["batch_size"].spelling, options["balanced"].spellings
    ('TRAIN', '--batch-size', ('--balanced', '--no-balanced'))
    """
    hints = get_type_hints(settings, include_extras=True)
    options: dict[str, Option] = {}
    for field in dataclasses.fields(settings):
        kind, *notes = (
            get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [hints[field.name]]
        )
        if dataclasses.is_dataclass(kind):
            options |= options_of(kind)  # type: ignore[arg-type]
            continue
        name = next((note.name for note in notes if getattr(note, "name", None)), field.name.replace("_", "-"))
        if _POSITIONAL in notes:
            metavar = next((note.metavar for note in notes if getattr(note, "metavar", None)), name.upper())
            options[field.name] = Option(re.split(r"[| ]", metavar)[0])
        else:
            choices = tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
            options[field.name] = Option(f"--{name}", kind is bool, choices, _kinds(kind))
    return options


def _kinds(hint: Any) -> tuple[type[Any], ...]:
    """The types of an option that always takes one word; none for switches, lists and options with named values."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return kinds if {*kinds} <= {int, float, str, Path, type(None)} else ()


def as_options(text: str, options: Mapping[str, Option]) -> str:
    """A message of the library in the words of a verb; arguments that the verb does not have stay as they are.

    >>> options = {"train": Option("TRAIN"), "json": Option("--json", is_switch=True), "lr": Option("--lr")}
    >>> as_options("`lr` 0; try `lr=0.01` or `json=False`; `train` and `stem=2` stay", options)
    '--lr 0; try --lr 0.01 or --no-json; TRAIN and `stem=2` stay'
    """

    def translate(match: re.Match[str]) -> str:
        name, value = match.groups()
        option = options.get(name)
        if option is None:
            return match[0]
        if value == "False" and option.is_switch:
            return option.spellings[1]
        if value is None or value == "True":
            return option.spelling
        return f"{option.spelling} {_unquoted(value)}"

    return _ARGUMENT.sub(translate, text)


def _unquoted(value: str) -> str:
    """A text of Python as a word of the command line."""
    quoted = re.fullmatch(r"""(['"])(\S+)\1""", value)
    return quoted[2] if quoted else value
