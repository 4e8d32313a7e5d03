"""From a decoded picture to the model's size: upright, RGB, the box cut out, resized. Exact, in bounded memory.

Pillow resizes in two passes with 8 bits between them: across and then down, until release 13, which for some tall
pictures goes down first. Here it is always across and then down, so that an answer depends on no release; then
a picture can go across strip by strip, and only a strip is ever copied or converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

from PIL import Image

from node import colour
from repository.manifest import Preprocessing

STRIP_PIXELS = 1 << 21  # at most 24 MiB in all conversions of one strip

Box = tuple[float, float, float, float]

_WIDEST_FILTER = 3  # Lanczos, in pixels of the smaller picture
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# EXIF orientation (CIPA DC-008, 4.6.5) to the turn that makes the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FROM_THE_END = frozenset({3, 4, 7, 8})  # the upright picture's first rows are the last rows or columns


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height once the picture stands upright."""
    return size[::-1] if orientation >= 5 else size


def box(width: float, height: float, steps: Preprocessing) -> Box:
    """The part of an upright picture that the model sees; its edges may lie between pixels."""
    if steps.resize == "stretch":
        return 0.0, 0.0, width, height
    side = steps.crop_share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def frame(image: Image.Image, orientation: int, view: Box, steps: Preprocessing) -> Image.Image:
    """`view` of the upright `image` as RGB, resized to what the model takes."""
    height = upright_size(image.size, orientation)[1]
    resample = _FILTERS[steps.filter]
    left, top, right, bottom = view
    # Rows that the second pass will look at: the view's, and what the widest filter reaches beyond.
    reach = _WIDEST_FILTER * max(1.0, (bottom - top) / steps.height) + 1
    first, last = max(0, floor(top - reach)), min(height, ceil(bottom + reach))
    canvas = Image.new("RGB", (steps.width, last - first))
    for start, strip in _upright_strips(image, orientation, first, last):
        across = strip.resize((steps.width, strip.height), resample, box=(left, 0, right, strip.height))
        canvas.paste(across, (0, start - first))
    return canvas.resize((steps.width, steps.height), resample, box=(0, top - first, steps.width, bottom - first))


def _upright_strips(image: Image.Image, orientation: int, first: int, last: int) -> Iterator[tuple[int, Image.Image]]:
    """The upright picture's rows from `first` to `last` as RGB: first row and picture of each strip."""
    rows = max(1, STRIP_PIXELS // upright_size(image.size, orientation)[0])
    brightest = colour.depth(image)
    for start in range(first, last, rows):
        part = image.crop(_raw_box(image.size, orientation, start, min(start + rows, last)))
        rgb = colour.to_rgb(part, brightest)
        yield start, rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb


def _raw_box(size: tuple[int, int], orientation: int, start: int, end: int) -> tuple[int, int, int, int]:
    """Where the upright rows from `start` to `end` lie in the picture as it was stored."""
    width, height = size
    along = width if orientation >= 5 else height
    if orientation in _FROM_THE_END:
        start, end = along - end, along - start
    return (start, 0, end, height) if orientation >= 5 else (0, start, width, end)
