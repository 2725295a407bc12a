"""Names of 0.1 that have changed: they work for one release more, with a line that says the new name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateshift.cli.option_names import Option
from gateshift.recipes import options


def as_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# (verb, old option) -> the option of today
OLD_OPTIONS: Mapping[tuple[str, str], str] = {
    ("train", as_option(old)): as_option(new) for old, new in options.OLD_NAMES.items()
}
# (verb, option of today, old value) -> the value of today
OLD_VALUES: Mapping[tuple[str, str, str], str] = {
    ("train", as_option(name), old): new for name, values in options.OLD_VALUES.items() for old, new in values.items()
}


def put_new_names(
    verb: str,
    words: Sequence[str],
    known: Iterable[Option],
    tell: Callable[[str], None],
    *,
    old_options: Mapping[tuple[str, str], str] = OLD_OPTIONS,
    old_values: Mapping[tuple[str, str, str], str] = OLD_VALUES,
) -> list[str]:
    """The words of a command with the names of today, ``--option=value`` and ``--option value`` alike.

    Args:
        verb: What is typed first.
        words: What follows.
        known: The options of the verb: what is one of them, or one of their values, is no old name.
        tell: Takes a line about each name that was replaced.
        old_options: The options that were renamed, by verb.
        old_values: The values that were renamed, by verb and option.
    """
    by_word = {word: option for option in known for word in option.spellings}
    renamed: list[str] = []
    option = ""  # whose value the next word is
    for word in words:
        name, is_joined, value = word.partition("=") if word.startswith("--") else (option, "", word)
        if word.startswith("--"):
            name = name.replace("_", "-")
            new = old_options.get((verb, name), name)
            if new != name and name not in by_word:
                tell(f"{name} is now {new}; the old name works in this release only")
                word, name = f"{new}{is_joined}{value}", new
            option = "" if is_joined else name
        new_value = old_values.get((verb, name, value), value)
        if new_value != value and name in by_word and value not in by_word[name].choices:
            tell(f"{name} {value} is now {name} {new_value}; the old value works in this release only")
            word = f"{name}={new_value}" if is_joined else new_value
        renamed.append(word)
    return renamed
