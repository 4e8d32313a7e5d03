"""From a decoded picture to the model's size: upright, RGB, the box cut out, resized. Exact, in bounded memory.

Pillow resizes in two passes, across and then down, with 8 bits between them. So a picture may go across strip by
strip and then down as a whole: the bits are those of one call, but only a strip is ever copied or converted.
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from node import colour
from repository.manifest import Preprocessing

STRIP_PIXELS = 1 << 21  # at most 24 MiB in all conversions of one strip

Box = tuple[float, float, float, float]

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
    canvas: Image.Image | None = None
    for start, strip in _upright_strips(image, orientation):
        if strip.height == height:
            return strip.resize((steps.width, steps.height), resample, box=view)
        if canvas is None:
            canvas = Image.new("RGB", (steps.width, height))
        across = strip.resize((steps.width, strip.height), resample, box=(left, 0, right, strip.height))
        canvas.paste(across, (0, start))
    assert canvas is not None
    return canvas.resize((steps.width, steps.height), resample, box=(0, top, steps.width, bottom))


def _upright_strips(image: Image.Image, orientation: int) -> Iterator[tuple[int, Image.Image]]:
    """The upright picture as RGB from top to bottom: first row and picture of each strip."""
    width, height = upright_size(image.size, orientation)
    plain = image.mode == "RGB" and orientation not in _TURNS and "transparency" not in image.info
    rows = height if plain else max(1, STRIP_PIXELS // width)
    brightest = colour.depth(image)
    for start in range(0, height, rows):
        end = min(start + rows, height)
        part = image if end - start == height else image.crop(_raw_box(image.size, orientation, start, end))
        rgb = colour.to_rgb(part, brightest)
        yield start, rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb


def _raw_box(size: tuple[int, int], orientation: int, start: int, end: int) -> tuple[int, int, int, int]:
    """Where the upright rows from `start` to `end` lie in the picture as it was stored."""
    width, height = size
    along = width if orientation >= 5 else height
    if orientation in _FROM_THE_END:
        start, end = along - end, along - start
    return (start, 0, end, height) if orientation >= 5 else (0, start, width, end)
