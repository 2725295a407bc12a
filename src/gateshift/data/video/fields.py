"""Which packets of H.264 hold the second field of a frame, as in interlaced recordings of camcorders and broadcasts.

Each field of such a frame may be a packet of its own. Only the first one gives a frame when it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_SLICES, _PARAMETERS = frozenset({1, 5}), 7  # kinds of units: part of a picture, and what is true of all pictures
# Profiles that also say how colors are stored and how coefficients are scaled.
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_SLICE_BYTES, _PARAMETER_BYTES = 32, 1024  # as much of a unit as is looked at


class FieldPairs:
    """Tells of one packet after the other whether it is the second field of a frame.

    Attributes:
        has_fields: Whether packets may be fields. It is False of all progressive streams.
    """

    def __init__(self, extradata: bytes) -> None:
        """Read the headers of a stream.

        Args:
            extradata: As FFmpeg gives it: units behind start codes, or a record of them, as in mp4.
        """
        is_record = extradata[:1] == b"\1"
        self._length_bytes = (extradata[4] & 3) + 1 if is_record and len(extradata) > 8 else 0
        self._parameters: _Parameters | None = None
        self._previous: _Field | None = None
        units = [extradata[8:]] if is_record else list(_units_behind_codes(extradata))
        with suppress(EOFError):
            for unit in units:
                if unit[:1] and unit[0] & 31 == _PARAMETERS:
                    self._parameters = _read_parameters(_Bits(unit[1:_PARAMETER_BYTES]))
        self.has_fields = self._parameters is not None and self._parameters.has_fields

    def is_second(self, packet: bytes | memoryview) -> bool:
        """Whether a packet is the other field of the frame of which the packet before it is one."""
        if self._parameters is None or not self.has_fields:
            return False
        field, previous = self._field_in(bytes(packet), self._parameters), self._previous
        is_pair = (
            field is not None
            and previous is not None
            and field.frame == previous.frame
            and field.is_bottom != previous.is_bottom
        )
        self._previous = None if is_pair else field
        return is_pair

    def _field_in(self, packet: bytes, parameters: _Parameters) -> _Field | None:
        """The field that a packet holds; None if it is a whole frame, or nothing that is known."""
        length = self._length_bytes
        units = _units_of_lengths(packet, length) if length else _units_behind_codes(packet)
        with suppress(EOFError):
            for unit in units:
                if unit[:1] and unit[0] & 31 in _SLICES:
                    return _read_field(_Bits(unit[1:_SLICE_BYTES]), parameters)
        return None


@dataclass(frozen=True)
class _Parameters:
    has_fields: bool  # whether pictures may be fields
    frame_bits: int  # of the number of a frame
    has_planes: bool  # whether each color is a picture of its own


@dataclass(frozen=True)
class _Field:
    frame: int  # a number that comes again after a while
    is_bottom: bool


class _Bits:
    """Reads bits; raises EOFError where there are no more."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")  # the 3 keeps data from looking like a start code
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int = 1) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def read_coded(self) -> int:
        """A number behind as many zeros as it has bits after its first."""
        zeros = 0
        while not self.read():
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def read_signed(self) -> int:
        coded = self.read_coded()
        return (coded + 1) // 2 if coded & 1 else -(coded // 2)


def _read_parameters(bits: _Bits) -> _Parameters:
    """The first part of a sequence parameter set: 7.3.2.1.1 of H.264."""
    profile = bits.read(8)
    bits.read(16)
    bits.read_coded()
    has_planes = _read_colors(bits) if profile in _HIGH_PROFILES else False
    frame_bits = bits.read_coded() + 4
    order_kind = bits.read_coded()
    if order_kind == 0:
        bits.read_coded()
    elif order_kind == 1:
        bits.read()
        bits.read_coded()
        bits.read_coded()
        for _ in range(bits.read_coded()):
            bits.read_coded()
    bits.read_coded()
    bits.read()
    bits.read_coded()
    bits.read_coded()
    return _Parameters(has_fields=not bits.read(), frame_bits=frame_bits, has_planes=has_planes)


def _read_colors(bits: _Bits) -> bool:
    """Pass over how colors are stored, and say whether each is a picture of its own."""
    sampling = bits.read_coded()
    has_planes = sampling == 3 and bool(bits.read())
    bits.read_coded()
    bits.read_coded()
    bits.read()
    if bits.read():
        for number in range(12 if sampling == 3 else 8):
            if bits.read():
                _pass_scaling(bits, 16 if number < 6 else 64)
    return has_planes


def _pass_scaling(bits: _Bits, size: int) -> None:
    scale = 8
    for _ in range(size):
        scale = (scale + bits.read_signed()) % 256
        if scale == 0:  # all others are as the last one
            return


def _read_field(bits: _Bits, parameters: _Parameters) -> _Field | None:
    """The first part of the header of a slice: 7.3.3 of H.264."""
    for _ in range(3):
        bits.read_coded()
    bits.read(2 if parameters.has_planes else 0)
    frame = bits.read(parameters.frame_bits)
    return _Field(frame, bool(bits.read())) if bits.read() else None


def _units_behind_codes(data: bytes) -> Iterator[bytes]:
    """The units of a stream in which each begins with a start code; no more of each than is looked at."""
    place = data.find(b"\0\0\1")
    while place >= 0:
        following = data.find(b"\0\0\1", place + 3)
        end = len(data) if following < 0 else following
        yield data[place + 3 : min(end, place + 3 + _PARAMETER_BYTES)]
        place = following


def _units_of_lengths(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The units of a packet in which the length of each stands before it."""
    place = 0
    while place + length_bytes < len(data):
        length = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        yield data[place : place + min(length, _PARAMETER_BYTES)]
        place += length
