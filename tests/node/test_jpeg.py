"""What a JPEG's markers say before anything is decoded."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from node import jpeg
from tests.fakes.bombs import scan_bomb
from wire.errors import Undecodable


def encoded(size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def test_scans_of_ordinary_files_are_counted_exactly() -> None:
    assert jpeg.count_scans(encoded(), 100) == 1
    assert jpeg.count_scans(encoded(progressive=True), 100) == 10
    assert jpeg.count_scans(encoded(restart_marker_blocks=1), 100) == 1
    assert jpeg.count_scans(encoded(exif=b"Exif\0\0" + b"\xff\xda" * 500), 100) == 1


def test_a_scan_bomb_is_refused_and_an_ordinary_file_is_not() -> None:
    jpeg.refuse_bomb(encoded(progressive=True), 64 * 48, 100)
    with pytest.raises(Undecodable, match="more than 100 scans"):
        jpeg.refuse_bomb(scan_bomb(1000), 64 * 48, 100)


def test_many_scans_over_many_pixels_are_refused_though_each_is_allowed() -> None:
    jpeg.refuse_bomb(scan_bomb(60), 10_000_000, 100)
    with pytest.raises(Undecodable, match="too much work"):
        jpeg.refuse_bomb(scan_bomb(60), 200_000_000, 100)


@pytest.mark.parametrize(
    ("options", "progressive", "coefficients"),
    [
        ({"subsampling": 2}, False, 1.5),
        ({"subsampling": 1}, False, 2.0),
        ({"subsampling": 0, "progressive": True}, True, 3.0),
    ],
)
def test_the_frame_tells_what_decoding_must_keep(
    options: dict[str, int], progressive: bool, coefficients: float
) -> None:
    assert jpeg.frame(encoded(**options)) == jpeg.Frame(progressive, coefficients)


@given(st.binary(max_size=2000))
def test_any_bytes_are_walked_over_without_an_error(data: bytes) -> None:
    jpeg.count_scans(b"\xff\xd8" + data, 100)
    jpeg.frame(b"\xff\xd8" + data)


@given(st.binary(min_size=1, max_size=64), st.integers(0, 5000))
def test_a_damaged_file_is_walked_over_too(noise: bytes, at: int) -> None:
    data = encoded(progressive=True)
    damaged = data[: at % len(data)] + noise + data[at % len(data) + len(noise) :]
    jpeg.count_scans(damaged, 100)
    jpeg.frame(damaged)


@pytest.mark.parametrize(
    ("size", "scale"), [((400, 300), 1), ((896, 900), 2), ((1000, 4000), 2), ((4000, 3000), 4), ((12_000, 9000), 8)]
)
def test_scale_leaves_what_is_needed(size: tuple[int, int], scale: int) -> None:
    assert jpeg.scale(*size, 448, 448) == scale
