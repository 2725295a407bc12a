"""The errors that a user can cause, each saying what was given, what is accepted and what to do.

The command line prints them as one line and exits with code 2; anything else that is raised is a
defect of gateshift itself and keeps its traceback. What the system refuses is told by
:func:`explain_system_error`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What each is, and what to do.
_SYSTEM_ERRORS = {
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.ENOTDIR: "part of the path is a file, and no folder; check the path",
    errno.EISDIR: "is a folder, and a file is wanted; give another path",
    errno.EEXIST: "exists; give another path",
    errno.EACCES: "permission denied; ask for it, or give another path",
    errno.EPERM: "permission denied; ask for it, or give another path",
    errno.EROFS: "the file system can only be read; give a path on another one",
    errno.ENOSPC: "no space left on the disk; make room on it",
    errno.EDQUOT: "no space left in your share of the disk; make room in it, or ask for more",
    errno.EFBIG: "the file is too large for its file system; give a path on another one",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n), or take fewer `workers`",
    errno.ENFILE: "too many open files on this machine; end other programs",
    errno.ENAMETOOLONG: "the name is too long; shorten it",
    errno.ELOOP: "its links lead in a circle; correct them",
    errno.EIO: "the disk or its connection fails; check it, and try again",
    errno.ENOMEM: "the machine has no memory left; end other programs, or take fewer `workers`",
    errno.EADDRINUSE: "the address is in use; choose another port",
}


class GateShiftError(Exception):
    """Base of every error that gateshift raises about what it was given."""


class GateShiftWarning(UserWarning):
    """What a user should know, and may want: nothing is wrong."""


class VideoError(GateShiftError):
    """A video that cannot be opened, has no frames, or lacks a frame that was asked for."""


class EmptyVideoError(VideoError):
    """A video of which nothing is there: a file of 0 bytes, or without a frame."""


class NoVideoStreamError(VideoError):
    """A file of something else, such as sound alone."""


class CutOffVideoError(VideoError):
    """A video whose end is missing."""


class ManifestError(GateShiftError):
    """A list of videos, or a label in it, that cannot be used."""


class ModelError(GateShiftError):
    """A network, checkpoint or tensor that does not fit what was asked of it."""


class SettingsError(GateShiftError):
    """An option outside what it accepts, or options that contradict each other."""


class ScoresError(GateShiftError):
    """Score files that are unreadable or do not belong together."""


class StoppedError(GateShiftError):
    """A training that was asked to stop by a signal, and can go on from what it saved.

    Attributes:
        exit_code: For the program, as shells count: 128 and the number of the signal.
    """

    def __init__(self, text: str, *, signal: int) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal


def check_whole(name: str, value: Any, *, least: int, advice: str) -> None:
    """Raise SettingsError unless an argument is a whole number that is large enough.

    Args:
        name: Of the argument.
        value: What was given.
        least: The smallest that is accepted.
        advice: What to do about a smaller one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise SettingsError(f"`{name}` {value!r}; it must be a whole number; correct it")
    if value < least:
        raise SettingsError(f"`{name}` {value}; {advice}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise SettingsError unless an argument is one of its choices.

    Args:
        name: Of the argument.
        value: What was given.
        choices: What is accepted.
    """
    if value not in choices:
        raise SettingsError(f"`{name}` {value!r}; choose one of {', '.join(choices)}")


def one_line(error: object) -> str:
    """The text of an error of somebody else in one line."""
    return " ".join(str(error).split())


def explain_system_error(error: OSError) -> str:
    """One line that says what the system refused, and what to do.

    Args:
        error: One that :mod:`errno` has a number for; others are told in their own words.
    """
    reason = _SYSTEM_ERRORS.get(error.errno or 0)
    if reason is None:
        return one_line(error)
    name = error.filename
    return reason if name is None or isinstance(name, int) else f"{os.fsdecode(name)}: {reason}"
