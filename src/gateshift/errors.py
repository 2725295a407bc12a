"""The errors that a user can cause, each saying what was given, what is accepted and what to do.

The command line prints them as one line and exits with code 2; anything else that is raised is a
defect of gateshift itself and keeps its traceback.
"""


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
