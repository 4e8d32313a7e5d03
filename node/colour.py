"""Any of Pillow's modes to RGB of 8 bits: palettes, grey, alpha, CMYK, L*a*b*, 16 bits and more."""

from __future__ import annotations

from functools import cache
from math import isfinite

import numpy as np
from PIL import Image, ImageCms

from wire.errors import Undecodable

# What shows through transparent pixels: the page that most pictures were made for.
BACKGROUND = (255, 255, 255)

_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_DIRECT = frozenset({"RGBX", "CMYK", "YCbCr", "HSV", "1", "L", "P"})


def depth(image: Image.Image) -> float:
    """What the brightest value means, for modes whose values have no fixed range; 0 for all others.

    Integers of 32 bits are taken as 16 bits when they all fit; floats as 0..1, 0..255 or 0..65535, the least that
    holds them. Asked once for a whole image, so that all of its strips are scaled alike.
    """
    if image.mode not in ("I", "F"):
        return 0.0
    extrema = image.getextrema()
    brightest = float(extrema[1])  # type: ignore[arg-type]  # one band: a plain pair
    if not isfinite(brightest):
        return 255.0
    if image.mode == "I":
        return 65535.0 if brightest <= 65535 else 2147483647.0
    return next((top for top in (1.0, 255.0, 65535.0) if brightest <= top), max(brightest, 1.0))


def to_rgb(image: Image.Image, brightest: float) -> Image.Image:
    """`image` as RGB; alpha is laid on `BACKGROUND`. Raises Undecodable for a mode that has no such meaning."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode in _DEEP:
        # The high byte, as Pillow itself does for colour images of 16 bits.
        return _grey(np.asarray(image).astype(np.uint16) >> 8)
    if mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        return _grey(np.clip(values * (255.0 / brightest), 0, 255).round())
    if image.has_transparency_data:
        return _on_background(image)
    if mode in _DIRECT:
        return image.convert("RGB")
    if mode == "LAB":
        rgb = ImageCms.applyTransform(image, _lab_to_srgb())
        assert rgb is not None  # only a transform in place gives nothing back
        return rgb
    raise Undecodable(f"images of colour mode {mode} are not read")


@cache
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    """CIE L*a*b* as TIFF has it, under D50; little-cms lets threads share a transform."""
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _grey(values: np.typing.NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _on_background(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    picture = Image.new("RGB", rgba.size, BACKGROUND)
    picture.paste(rgba, mask=rgba.getchannel("A"))
    return picture
