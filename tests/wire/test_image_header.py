"""Headers of real and broken images, whole and in pieces."""

from __future__ import annotations

import io
import struct
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.wire.pictures import (
    FORMATS,
    big_tiff,
    bmp_core,
    bmp_info,
    jpeg_with_segments,
    picture,
    tiff_with_directory_last,
)
from wire.image_header import HeaderReader, ImageHeader, Unknown, read_header, starts_image


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (37, 21), (1000, 3)])
def test_size_is_read_as_pillow_reads_it(image_format: str, size: tuple[int, int]) -> None:
    data = picture(image_format, *size)
    assert Image.open(io.BytesIO(data)).size == size
    assert read_header(data) == ImageHeader(image_format.lower(), *size)
    assert read_header(memoryview(data)) == read_header(bytearray(data)) == read_header(data)


VARIANTS = {
    "progressive JPEG": picture("JPEG", progressive=True),
    "grey JPEG": picture("JPEG", mode="L"),
    "CMYK JPEG": picture("JPEG", mode="CMYK"),
    "JPEG with 200 KB of ICC profile": picture("JPEG", icc_profile=bytes(200_000)),
    "JPEG with EXIF": picture("JPEG", exif=b"Exif\0\0" + bytes(60_000)),
    "JPEG with fill bytes": picture("JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "JPEG with junk between segments": picture("JPEG").replace(b"\xff\xdb", b"junk\xff\0junk\xff\xdb", 1),
    "palette PNG": picture("PNG", mode="P"),
    "grey GIF": picture("GIF", mode="L"),
    "lossless WebP": picture("WEBP", lossless=True),
    "WebP with alpha": picture("WEBP", mode="RGBA"),
    "WebP with EXIF": picture("WEBP", exif=b"Exif\0\0abc"),
    "TIFF with LZW": picture("TIFF", compression="tiff_lzw"),
    "BMP with palette": picture("BMP", mode="P"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_each_format_are_read(name: str) -> None:
    header = read_header(VARIANTS[name])
    assert header is not None
    assert (header.width, header.height, header.pixels) == (37, 21, 777)


def test_headers_that_pillow_does_not_write_are_read() -> None:
    assert read_header(bmp_core(5, 6)) == ImageHeader("bmp", 5, 6)
    assert read_header(bmp_info(5, -6)) == ImageHeader("bmp", 5, 6)
    for order in ("<", ">"):
        assert read_header(tiff_with_directory_last(70, 80, order=order)) == ImageHeader("tiff", 70, 80)
        assert read_header(big_tiff(70_000, 80_000, order)) == ImageHeader("tiff", 70_000, 80_000)


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], extension: bytes = b"") -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    return head + extension + b"," + struct.pack("<HHHHB", *frame, 0) + bytes(20)


def test_a_gif_is_as_large_as_its_first_frame_reaches() -> None:
    comment = b"!\xfe" + (b"\xff" + b"," * 255) * 3 + b"\0"
    assert read_header(gif((32, 32), (0, 1066, 65_535, 65_535), comment)) == ImageHeader("gif", 65_535, 66_601)
    assert read_header(gif((320, 200), (10, 10, 5, 5))) == ImageHeader("gif", 320, 200)


def test_absurd_sizes_are_reported_not_judged() -> None:
    png = picture("PNG")
    huge = png[:16] + struct.pack(">II", 2**31 - 1, 0) + png[24:]
    assert read_header(huge) == ImageHeader("png", 2**31 - 1, 0)
    assert read_header(bmp_info(2**31 - 1, -(2**31))) == ImageHeader("bmp", 2**31 - 1, 2**31)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_cut_header_asks_for_more_until_no_more_can_come(image_format: str) -> None:
    data = picture(image_format)
    needed = next(n for n in range(len(data) + 1) if read_header(data[:n]))
    for n in range(needed):
        assert read_header(data[:n]) is None
        with pytest.raises(Unknown):
            read_header(data[:n], complete=True)
    assert read_header(data[:needed], complete=True) == read_header(data)


BROKEN = {
    "text": b"hello, world",
    "nothing but zeros": bytes(64),
    "HTML": b"<html><body>",
    "PDF": b"%PDF-1.7 something",
    "text that begins like a bitmap": b"BMW builds cars in Bavaria and elsewhere",
    "sound in a RIFF": b"RIFF\x24\x08\0\0WAVEfmt " + bytes(40),
    "PNG without IHDR": b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT" + bytes(20),
    "JPEG that ends at once": b"\xff\xd8\xff\xd9" + bytes(20),
    "JPEG that scans before its frame": b"\xff\xd8\xff\xda\0\x0c" + bytes(20),
    "JPEG with a segment of length 1": b"\xff\xd8\xff\xe0\0\x01" + bytes(20),
    "JPEG made of tiny segments": b"\xff\xd8" + b"\xff\xe0\0\x02" * 5000,
    "JPEG made of fill bytes": b"\xff\xd8" + b"\xff" * 5000,
    "TIFF with its directory in its header": b"II*\0\x04\0\0\0" + bytes(20),
    "TIFF with an empty directory": b"II*\0\x08\0\0\0" + bytes(20),
    "WebP with an unknown chunk": b"RIFF\x24\x08\0\0WEBPXXXX" + bytes(40),
    "lossy WebP without its start code": b"RIFF\x24\x08\0\0WEBPVP8 " + bytes(40),
    "lossless WebP without its signature": b"RIFF\x24\x08\0\0WEBPVP8L" + bytes(40),
    "GIF without a frame": picture("GIF")[:13] + bytes(768) + b";" + bytes(20),
    "GIF made of comments": b"GIF89a" + bytes(7) + b"!\xfe\0" * 3000 + bytes(20),
    "BMP with negative width": bmp_info(-5, 6),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_unknown(name: str) -> None:
    with pytest.raises(Unknown):
        read_header(BROKEN[name])


def test_magic_bytes_alone_tell_whether_an_image_starts() -> None:
    assert [starts_image(picture(f)[:8]) for f in FORMATS] == [True] * len(FORMATS)
    assert starts_image(b"\x89PN") is None
    assert starts_image(b"") is None
    assert starts_image(b"\x89PX") is False


def test_metadata_of_many_segments_is_passed_over_without_being_kept() -> None:
    data = jpeg_with_segments(*[bytes(65_533)] * 40, width=640, height=480)
    reader, header, at = HeaderReader(), None, 0
    while header is None:
        header = reader.feed(data[at : at + 1000])
        assert reader.kept_bytes <= 9
        at += 1000
    assert header == ImageHeader("jpeg", 640, 480)
    assert at > 40 * 65_533


def test_the_format_is_known_before_the_size() -> None:
    reader = HeaderReader()
    assert reader.feed(b"\xff") is None
    assert reader.format == ""
    assert reader.feed(b"\xd8\xff\xe1") is None
    assert reader.format == "jpeg"


def read_in_pieces(data: bytes, cuts: list[int]) -> ImageHeader | str | None:
    """What a reader says at last of `data` cut at these places."""
    reader, start = HeaderReader(), 0
    try:
        for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            header = reader.feed(data[start:cut])
            if header:
                return header
            start = cut
    except Unknown:
        return "unknown"
    return None


WHOLE = [
    *VARIANTS.values(),
    *BROKEN.values(),
    tiff_with_directory_last(70, 80, order=">"),
    big_tiff(70, 80),
    bmp_core(1, 2),
    jpeg_with_segments(b"a" * 300, b"\xff\xc0" * 90),
]


@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 2**20), max_size=8))
def test_pieces_say_what_the_whole_says(data: bytes, cuts: list[int]) -> None:
    assert read_in_pieces(data, cuts) == read_in_pieces(data, [])


@pytest.mark.parametrize("data", WHOLE)
def test_single_bytes_say_what_the_whole_says(data: bytes) -> None:
    data = data[:3000]
    assert read_in_pieces(data, list(range(len(data)))) == read_in_pieces(data, [])


STARTS = [b"", b"\xff\xd8\xff", *[picture(f)[:20] for f in FORMATS], b"MM\0+\0\x08\0\0"]


@given(st.sampled_from(STARTS), st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=5))
def test_garbage_never_crashes_nor_gives_absurd_types(start: bytes, rest: bytes, cuts: list[int]) -> None:
    found = read_in_pieces(start + rest, cuts)
    assert found == read_in_pieces(start + rest, [])
    if isinstance(found, ImageHeader):
        assert found.format in {f.lower() for f in FORMATS}
        assert found.width >= 0
        assert found.height >= 0


@given(st.sampled_from(FORMATS), st.data())
def test_damaged_images_never_crash(image_format: str, data: st.DataObject) -> None:
    damaged = bytearray(picture(image_format))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 200)))] = data.draw(st.integers(0, 255))
    try:
        found = read_header(bytes(damaged))
    except Unknown:
        return
    assert found is None or isinstance(found, ImageHeader)


@pytest.mark.parametrize("image_format", FORMATS)
def test_what_pillow_opens_after_damage_we_read_alike(image_format: str) -> None:
    """Where the file is damaged behind the sizes, both still agree."""
    data = bytearray(picture(image_format, 300, 200))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    header = read_header(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert header is not None
        assert Image.open(io.BytesIO(bytes(data))).size == (header.width, header.height)
