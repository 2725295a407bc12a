"""Videos that are no path: bytes, file objects and addresses. Each is copied to a file, which is removed afterwards."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeGuard

from gateshift.data.video.protocol import Video, renamed
from gateshift.errors import EmptyVideoError, VideoError, one_line

Data = bytes | bytearray | memoryview
Source = str | PathLike[str] | Data | IO[bytes]  # what a video may be given as
MAX_BYTES = 2 << 30  # of a video that is no path
SILENCE_S = 30.0  # an address that gives nothing for so long is given up
COPY_BYTES = 1 << 20  # copied at a time
# Of addresses that are no file: lists of what is shown next, and pictures one after the other.
LIVE_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".mjpg", ".mjpeg", ".sdp")
LIVE_TYPES = ("mpegurl", "dash+xml", "x-mixed-replace")
_WEB = re.compile(r"https?://", re.IGNORECASE)


def is_address(source: str) -> bool:
    """Whether a video has to be fetched first.

    >>> is_address("s3://bucket/a.mp4"), is_address("clips/a.mp4")
    (True, False)
    """
    return "://" in source


def is_web_address(source: object) -> TypeGuard[str]:
    """Whether a source is an http or https address."""
    return isinstance(source, str) and _WEB.match(source) is not None


def is_file_address(source: str) -> bool:
    """Whether a source is the http or https address of a file, as far as its name tells, and not of a live stream.

    >>> is_file_address("https://host/a.mp4?key=1"), is_file_address("https://host/live.m3u8"), is_file_address("a.mp4")
    (True, False, False)
    """
    return is_web_address(source) and _suffix(source) not in LIVE_SUFFIXES


def is_source(value: object) -> TypeGuard[Source]:
    """Whether a value is one video, and not several."""
    return isinstance(value, str | PathLike | Data) or hasattr(value, "read")


def is_path(source: Source) -> TypeGuard[str | PathLike[str]]:
    """Whether a video is opened where it lies."""
    return isinstance(source, str | PathLike) and not is_web_address(source)


def name_of(source: Source) -> str:
    """What a video is called in errors and records."""
    if isinstance(source, Data):
        return f"a video of {len(memoryview(source).cast('B'))} bytes"
    if isinstance(source, str | PathLike):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"a video from a {type(source).__name__}"


def open_copied(source: Source, open_path: Callable[[Path], Video]) -> Video:
    """Open a video that is no path; closing it removes the copy.

    Args:
        source: Bytes, a file object opened with "rb" or an address.
        open_path: Opens the copy.

    Raises:
        VideoError: If it cannot be had, is too large, or is not a video.
    """
    with ExitStack() as stack:
        path = stack.enter_context(local_copy(source))
        with renamed(path, name_of(source)):
            video = open_path(path)
        video.keep(stack.pop_all(), name_of(source))
    return video


@contextmanager
def local_copy(source: Source, *, folder: Path | None = None, max_bytes: int | None = MAX_BYTES) -> Iterator[Path]:
    """A file of what a source that is no path gives, removed afterwards.

    Args:
        source: Bytes, a file object opened with "rb", which is read from where it is and left open, or an address:
            http or https, or any that fsspec knows.
        folder: Where the copy lies; the system's place for temporary files where left out.
        max_bytes: How large it may be; None for any size.

    Raises:
        VideoError: If it cannot be had, or is too large.
    """
    name = name_of(source)
    with TemporaryDirectory(dir=folder, prefix="gateshift-") as place, _opened(source, max_bytes) as stream:
        start = _read(stream, name)
        # The suffix says what some files are; frames that were packed are a zip.
        suffix = _suffix(name) or (".zip" if start.startswith(b"PK\3\4") else "")
        path = Path(place) / f"video{suffix}"
        with path.open("wb") as file:
            num_bytes = 0
            while start:
                num_bytes += file.write(start)
                if max_bytes is not None and num_bytes > max_bytes:
                    raise _too_large(name, max_bytes)
                start = _read(stream, name)
        _check_whole(stream, name, num_bytes)
        yield path


@contextmanager
def _opened(source: Source, max_bytes: int | None) -> Iterator[Any]:
    """A source as a file object."""
    if isinstance(source, Data):
        yield BytesIO(source)
    elif not isinstance(source, str | PathLike):
        yield source
    elif is_web_address(source):
        with _ask(source) as response:
            if max_bytes is not None and (_promised(response) or 0) > max_bytes:
                raise _too_large(source, max_bytes)
            yield response
    else:
        with _open_by_fsspec(str(source)) as stream:
            yield stream


def _ask(address: str) -> http.client.HTTPResponse:
    """What a server answers; its body is yet to be read."""
    spelled = urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")  # blanks and letters beyond ASCII
    request = urllib.request.Request(spelled, headers={"User-Agent": "gateshift"})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=SILENCE_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _not_fetched(address, error) from None
    kind = response.headers.get_content_type()
    if any(live in kind for live in LIVE_TYPES):
        response.close()
        raise VideoError(f"{address}: is a live stream, and no file; predict it with `stream=True`")
    if kind == "text/html":
        response.close()
        raise VideoError(f"{address}: is a web page, and no video; give the address of the video file itself")
    return response


@contextmanager
def _open_by_fsspec(address: str) -> Iterator[Any]:
    import fsspec

    with ExitStack() as stack:
        try:
            stream = stack.enter_context(fsspec.open(address, "rb"))
        except Exception as error:  # each kind of address has its own
            raise _not_fetched(address, error) from None
        yield stream


def _read(stream: Any, name: str) -> bytes:
    try:
        data = stream.read(COPY_BYTES)
    except Exception as error:  # each kind of file object has its own
        raise _not_fetched(name, error) from None
    if not isinstance(data, bytes):
        raise VideoError(f'{name}: gives {type(data).__name__}, not bytes; open it with mode "rb"')
    return data


def _check_whole(stream: Any, name: str, num_bytes: int) -> None:
    """Raise VideoError if nothing came, or less than was promised."""
    promised = _promised(stream)
    if promised is not None and num_bytes < promised:
        raise VideoError(f"{name}: broke off after {num_bytes} of {promised} bytes; fetch it again")
    if num_bytes == 0:
        hint = "; call seek(0) if it was read before" if hasattr(stream, "seek") else ""
        raise EmptyVideoError(f"{name}: is empty, with 0 bytes{hint}")


def _promised(stream: Any) -> int | None:
    """How many bytes a server says that it sends."""
    length = stream.headers.get("Content-Length") if isinstance(stream, http.client.HTTPResponse) else None
    return int(length) if length is not None and length.isascii() and length.isdigit() else None


def _suffix(name: str) -> str:
    """The suffix of a path or an address, which may chain others by ::, or end in a query; "" if it is an odd one."""
    suffix = PurePosixPath(name.partition("::")[0].partition("?")[0].partition("#")[0]).suffix.lower()
    return suffix if re.fullmatch(r"\.\w{1,8}", suffix, re.ASCII) else ""


def _too_large(name: str, max_bytes: int) -> VideoError:
    return VideoError(f"{name}: has more than {max_bytes / 2**30:.3g} GiB; download it, and give the path of the file")


def _not_fetched(name: str, error: Exception) -> VideoError:
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server says {error.code} {error.reason}"
        error.close()
    elif isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        reason = f"nothing came for {SILENCE_S:g} s"
    elif isinstance(error, urllib.error.URLError):
        reason = one_line(error.reason)
    else:
        reason = f"{type(error).__name__}: {one_line(error).rstrip('.')[:200]}"
    return VideoError(f"{name}: cannot be fetched: {reason}; check the address, and the right to read it")
