"""The images that Pillow tests itself with, broken and hostile ones among them, at a node that stands alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.fakes.real_node import SAMPLES, RealNode, real_node
from tests.get_pillow_images import obtain

CAT = (SAMPLES / "cat.jpg").read_bytes()
# What Pillow itself cannot read, and so neither can we; all else in a format of ours must be answered.
UNREADABLE = {
    "apng/syntax_num_frames_zero.png": "its only frame is no part of the default image",
    "bmp/b/badbitcount.bmp": "30,000 bits a pixel",
    "bmp/b/badpalettesize.bmp": "a palette of 305,402,420 colours",
    "bmp/b/shortfile.bmp": "cut short",
    "bmp/g/rgb32bf.bmp": "bit fields that Pillow has no reader for",
    "bmp/q/pal2.bmp": "2 bits a pixel, no BMP by the letter",
    "bmp/q/pal8os2v2-16.bmp": "a header of OS/2 that Pillow has no reader for",
    "bmp/q/pal8oversizepal.bmp": "a palette larger than its bits can name",
    "bmp/q/rgb16-231.bmp": "bit fields that Pillow has no reader for",
    "bmp/q/rgb24jpeg.bmp": "a JPEG inside a BMP",
    "bmp/q/rgb24png.bmp": "a PNG inside a BMP",
    "bmp/q/rgb32-111110.bmp": "bit fields that Pillow has no reader for",
    "bmp/q/rgba16-4444.bmp": "bit fields that Pillow has no reader for",
    "bmp/q/rgba32abf.bmp": "a compression of Windows CE",
    "broken_data_stream.png": "broken",
    "hopper_unknown_pixel_mode.tif": "a pixel layout that nobody defined",
    "hopper_webp.tif": "WebP inside TIFF; Pillow's own libtiff is built without",
    "l2rgb_read.bmp": "cut short",
    "libtiff_segfault.tif": "made to crash libtiff",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "made to exhaust memory",
    "png_decompression_dos.png": "a text that decompresses without end",
    "seek_too_large.tif": "its directory lies beyond its end",
    "tiff_overflow_rows_per_strip.tif": "made to overflow libtiff",
    "tiff_tiled_jpeg_oob_read.tif": "made to read beyond a buffer",
    "timeout-6646305047838720": "made to take for ever",
    "truncated_image.png": "cut short",
    "truncated_jpeg.jpg": "cut short",
    "ultrahdr.jpg": "cut short",
    "unknown_compression_method.png": "a compression that nobody defined",
    "zero_width.gif": "no pixels",
}
TOO_LARGE = {"bmp/b/reallybig.bmp", "decompression_bomb.gif"}
MOST_GROWTH = 600 << 20  # bytes: the largest is 25 megapixels of BMP; TensorFlow keeps its own scratch


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    with real_node(tmp_path_factory.mktemp("pillow"), "--pool", "heavy", "--set", "limits.waiting=64") as node:
        yield node


@pytest.mark.timeout(600)  # a thousand requests: minutes where others use the cores
def test_every_image_gets_its_answer_and_nothing_dies(node: RealNode) -> None:
    folder = obtain()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = requests.post(node.url("/v1/predict"), data=CAT)
    start = node.resident() if sys.platform.startswith("linux") else 0

    def ask(path: Path) -> tuple[str, int]:
        answer = requests.post(node.url("/v1/predict"), data=path.read_bytes(), timeout=60)
        return path.relative_to(folder).as_posix(), answer.status_code

    with ThreadPoolExecutor(4) as clients:
        answers = dict(clients.map(ask, files))
    counts = Counter(answers.values())

    assert set(counts) <= {200, 413, 415, 422}, counts
    assert {name for name, status in answers.items() if status == 413} == TOO_LARGE
    assert {name for name, status in answers.items() if status == 422} == set(UNREADABLE)
    assert counts[200] > 650
    assert requests.post(node.url("/v1/predict"), data=CAT).json() == before.json()
    assert node.process.poll() is None
    if start:
        assert node.resident("VmHWM") - start < MOST_GROWTH
