"""From the bytes of an image to one row of a model's input, exactly as the artefact's manifest says.

Nothing is decoded before the header has been judged: what claims more pixels than the node takes is refused by 26
bytes. The way depends on the image and the manifest alone, never on the node's pool or load, so that every node
gives the same answer.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from node import framing, jpeg, png
from repository.manifest import Preprocessing
from wire.errors import TooLarge, Undecodable, UnsupportedMedia
from wire.image_header import CUT_SHORT, ImageHeader, Unknown, read_header, starts_image

ACCEPT = "image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff"

_ORIENTATION = 0x0112
_OBJECT = re.compile(r" <[^>]*>")  # how Pillow names what it read from: an address in memory
# Bytes that a decoded pixel takes while its picture is read; measured as the growth of the process (tests).
_PIXEL_BYTES = {"jpeg": 4.0, "png": 4.4, "gif": 5.0, "bmp": 4.0, "tiff": 10.0, "webp": 17.0}
_BESIDE = 32 << 20  # strips, tables and the row itself


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads images within limits. Thread-safe."""

    max_pixels: int
    most_scans: int
    jpeg_margin: float  # 0: JPEGs are decoded in full

    def look(self, data: bytes) -> ImageHeader:
        """The header, when the image may be decoded. Raises UnsupportedMedia, TooLarge or Undecodable."""
        try:
            header = read_header(data, complete=True)
        except Unknown as error:
            if str(error) == CUT_SHORT and starts_image(data):
                raise Undecodable(f"the image cannot be decoded: {error}") from None
            raise UnsupportedMedia(f"not an image we read: {error}", headers={"Accept": ACCEPT}) from None
        assert header is not None
        if not header.pixels:
            raise Undecodable(f"the image is {header.width} x {header.height} pixels")
        self._refuse_pixels(header.width, header.height)
        return header

    def decoded_bytes(self, data: bytes, header: ImageHeader, steps: Preprocessing) -> int:
        """Memory that `read` will take at most, in bytes."""
        per_pixel = _PIXEL_BYTES[header.format]
        if header.format != "jpeg":
            return int(header.pixels * per_pixel) + _BESIDE
        frame = jpeg.frame(data)
        kept = 2 * frame.coefficients if frame.progressive else 0.0
        return int(header.pixels * (per_pixel / self._scale(header, steps) ** 2 + kept)) + _BESIDE

    def read(self, data: bytes, header: ImageHeader, steps: Preprocessing) -> NDArray[np.float32]:
        """One row of the model's input. Takes up to seconds: not for the event loop. Raises Undecodable, TooLarge."""
        if header.format == "jpeg":
            jpeg.refuse_bomb(data, header.pixels, self.most_scans)
        elif header.format == "png":
            png.refuse_damage(data)
        with _foreign_errors():
            image = Image.open(io.BytesIO(data), formats=[header.format.upper()])
        self._refuse_pixels(*image.size)
        scale = self._scale(header, steps) if header.format == "jpeg" else 1
        if header.format == "jpeg" and isinstance(image, ImageFile.ImageFile):
            # In one piece: between pieces of 64 KB a decoder waits for the interpreter, and its core for it.
            image.decodermaxblock = len(data)
        size = image.size
        # Pillow turns TIFFs by itself while it loads them.
        orientation = 1 if header.format == "tiff" else _orientation(image)
        with _foreign_errors():
            if scale > 1:
                image.draft(None, (size[0] // scale, size[1] // scale))
            image.load()
        self._refuse_pixels(*image.size)
        if scale == 1 or image.size == size:
            scale, size = 1, image.size  # a GIF's first frame may have grown while it was read
        width, height = framing.upright_size(size, orientation)
        view = framing.box(width / scale, height / scale, steps)
        with _foreign_errors():
            return _values(framing.frame(image, orientation, view, steps), steps)

    def _scale(self, header: ImageHeader, steps: Preprocessing) -> int:
        if not self.jpeg_margin:
            return 1
        need_width, need_height = self.jpeg_margin * steps.width, self.jpeg_margin * steps.height
        if steps.resize == "crop":
            side = int(steps.crop_share * min(header.width, header.height))
            return jpeg.scale(side, side, need_width, need_height)
        # Which side is which is known only after the orientation; the stricter of both serves either.
        need = max(need_width, need_height)
        return jpeg.scale(header.width, header.height, need, need)

    def _refuse_pixels(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise TooLarge(
                f"the image has {width} x {height} pixels; this node takes {self.max_pixels}",
                limit_pixels=self.max_pixels,
            )


def guard_pillow(max_pixels: int) -> None:
    """Keep Pillow's own guard behind ours, at our limit and as an error. Process-wide: called once, at the start."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damage that it can live with
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the picture; decoders and other viewers pass over it
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _values(picture: Image.Image, steps: Preprocessing) -> NDArray[np.float32]:
    """Step 3 of `Preprocessing`: (pixel - mean) / std, ordered as the model wants it, not yet of its dtype."""
    pixels = np.asarray(picture)
    # Rows as one axis: a last axis of 3 would make every operation loop over three numbers at a time.
    flat = pixels.reshape(steps.height, steps.width * 3).astype(np.float32)
    flat -= np.tile(np.array(steps.mean, np.float32), steps.width)
    flat /= np.tile(np.array(steps.std, np.float32), steps.width)
    row = flat.reshape(pixels.shape)
    if steps.channels == "BGR":
        row = row[:, :, ::-1]
    if steps.layout == "NCHW":
        row = row.transpose(2, 0, 1)
    return np.ascontiguousarray(row)


@contextmanager
def _foreign_errors() -> Iterator[None]:
    """Whatever a decoder raises on hostile bytes, and they raise anything, is one error of ours."""
    try:
        yield
    except (Undecodable, TooLarge):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(str(error)) from error
    except Exception as error:
        words = _OBJECT.sub("", str(error)) or type(error).__name__
        raise Undecodable(f"the image cannot be decoded: {words}"[:300]) from error
