"""The manifest's preprocessing, word for word in Pillow: what every faster way of doing it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repository.manifest import Preprocessing

Box = tuple[float, float, float, float]


def row(picture: Image.Image, steps: Preprocessing) -> NDArray[np.float32]:
    """One row of the model's input, without the batch axis."""
    upright = picture if picture.mode == "RGB" else picture.convert("RGB")
    size = (steps.width, steps.height)
    resized = upright.resize(size, Image.Resampling[steps.filter.upper()], box(upright.size, steps))
    return normalised(np.asarray(resized), steps)


def box(size: tuple[int, int], steps: Preprocessing) -> Box:
    """The part of a picture of `size` (width, height) that the model sees: left, top, right, bottom."""
    width, height = size
    if steps.resize == "stretch":
        return (0.0, 0.0, float(width), float(height))
    side = steps.crop_share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def normalised(pixels: NDArray[np.uint8], steps: Preprocessing) -> NDArray[Any]:
    """Pixels (height, width, RGB) as the graph wants them."""
    mean, std = np.asarray(steps.mean, np.float32), np.asarray(steps.std, np.float32)
    values = (pixels.astype(np.float32) - mean) / std
    if steps.channels == "BGR":
        values = values[..., ::-1]
    if steps.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values)
