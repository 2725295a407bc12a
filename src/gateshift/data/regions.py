"""Fixed regions of a picture: x0, y0, x1, y1 as shares of its width and height, or in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from gateshift.errors import SettingsError

Region = tuple[float, float, float, float]
AnyRegion = str | Sequence[float]  # as users give one
MIN_SIDE_PX = 4
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_FORMS = "give x0,y0,x1,y1 as shares of the picture, such as 0.1,0.2,0.6,0.9, or in pixels, such as 120,80,520,460"


def parse_region(given: AnyRegion) -> Region:
    """A region from its text, as ``0.1,0.2,0.6,0.9``, or from four numbers: left, upper, right and lower edge.

    Four numbers up to 1 are shares of the picture's width and height; any others are pixels, which are whole. Both
    count from the upper left corner of the picture as players show it: upright, and with square pixels.

    Returns:
        Four floats in 0..1, or four whole numbers of which one is above 1.

    Raises:
        ValueError: If it is no such region. Its text begins with what was given.

    >>> parse_region("0.1, 0.2, 0.6, 1"), parse_region([120, 80, 520, 460])
    ((0.1, 0.2, 0.6, 1.0), (120, 80, 520, 460))
    """
    try:
        parts: Any = given.split(",") if isinstance(given, str) else list(given)
        numbers = [_number(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError(f"{given!r} is not four numbers; {_FORMS}") from None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{given!r} is not four numbers; {_FORMS}")
    left, top, right, bottom = numbers
    if min(numbers) < 0:
        raise ValueError(f"{given!r} begins outside of the picture; its edges are at 0; correct it")
    is_shares = max(numbers) <= 1
    if not is_shares and not all(number.is_integer() for number in numbers):
        raise ValueError(f"{given!r} mixes shares and pixels: shares are up to 1, and pixels are whole; {_FORMS}")
    if right <= left or bottom <= top:
        raise ValueError(f"{given!r} ends before it begins: x0 must be below x1, and y0 below y1; correct it")
    if is_shares:
        return left, top, right, bottom
    if min(right - left, bottom - top) < MIN_SIDE_PX:
        raise ValueError(f"{given!r} {_too_small(right - left, bottom - top)}")
    return int(left), int(top), int(right), int(bottom)


def _number(part: Any) -> float:
    if isinstance(part, bool) or not isinstance(part, str | Real):
        raise TypeError
    return float(part) + 0.0  # which makes -0 a 0


def region_of(box: AnyRegion | None) -> Region | None:
    """The region that an argument ``box`` is, if it is given.

    Raises:
        SettingsError: If it is none.
    """
    try:
        return None if box is None else parse_region(box)
    except ValueError as error:
        raise SettingsError(f"`box` {error}") from None


def box_text(box: AnyRegion | None) -> str | None:
    """An argument ``box`` as text, as :func:`region_of` checks it."""
    region = region_of(box)
    return None if region is None else region_text(region)


def region_text(region: Region) -> str:
    """A region as :func:`parse_region` reads it.

    >>> region_text((0.1, 0.0, 1.0, 0.5)), region_text((120, 80, 520, 460))
    ('0.1,0,1,0.5', '120,80,520,460')
    """
    return ",".join(repr(edge).removesuffix(".0") for edge in region)


def cut_region(region: Region, width: int, height: int, *, shown_px: tuple[int, int] | None = None) -> list[slice]:
    """Which rows and columns of a picture a region is; edges are at the nearest whole pixels.

    Args:
        region: See :func:`parse_region`.
        width: Of the picture, in pixels.
        height: Of the picture.
        shown_px: Width and height at which players show it, which pixels of a region count in, if it is another.

    Returns:
        Slices of rows and of columns.

    Raises:
        ValueError: If the region is beyond the picture, or too small.

    >>> cut_region((0.25, 0.0, 1.0, 0.5), 64, 48)
    [slice(0, 24, None), slice(16, 64, None)]
    """
    across, down = (1, 1) if max(region) <= 1 else shown_px or (width, height)
    if region[2] > across or region[3] > down:
        raise ValueError(
            f"the box {region_text(region)} reaches beyond the picture of {across} x {down} px; correct it, or give "
            "shares of the picture"
        )
    left, right = (math.floor(edge / across * width + 0.5) for edge in region[::2])
    top, bottom = (math.floor(edge / down * height + 0.5) for edge in region[1::2])
    if min(right - left, bottom - top) < min(MIN_SIDE_PX, width, height):
        raise ValueError(f"the box {region_text(region)} {_too_small(right - left, bottom - top)}")
    return [slice(top, bottom), slice(left, right)]


def _too_small(width: float, height: float) -> str:
    return f"is {width:g} x {height:g} px, and a side has at least {MIN_SIDE_PX}; give a larger one"
