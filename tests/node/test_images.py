"""Images become rows exactly as the manifest says, whatever their mode, and bad ones become the right error."""

import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from node import framing
from node.images import Reader
from repository import reference
from repository.manifest import Preprocessing
from tests.fakes.bombs import png
from wire.errors import TooLarge, Undecodable, UnsupportedMedia, WireError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
LITE = Preprocessing("image", 224, 224, "crop", 0.875, "bicubic", (127.0,) * 3, (128.0,) * 3)
TINY = Preprocessing("image", 4, 4, "stretch", 1.0, "box", (0.0,) * 3, (1.0,) * 3)
EXACT = Reader(max_pixels=100_000_000, most_scans=100, jpeg_margin=0)
SERVED = Reader(max_pixels=100_000_000, most_scans=100, jpeg_margin=2)


def row(data: bytes, steps: Preprocessing = TINY, reader: Reader = EXACT) -> np.ndarray:
    return reader.read(data, reader.look(data), steps)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@cache
def photo(width: int = 333, height: int = 251) -> Image.Image:
    """Something with structure at every scale."""
    noise = np.random.default_rng(5).integers(0, 255, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def by_hand(picture: Image.Image, steps: Preprocessing) -> np.ndarray:
    """The manifest's words: cut, resize across and then down, scale."""
    left, top, right, bottom = reference.box(picture.size, steps)
    across = picture.convert("RGB").resize(
        (steps.width, picture.height), Image.Resampling.BICUBIC, (left, 0, right, picture.height)
    )
    small = across.resize((steps.width, steps.height), Image.Resampling.BICUBIC, (0, top, steps.width, bottom))
    return reference.normalised(np.asarray(small), steps)


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
def test_a_row_is_the_manifests_words_bit_by_bit(kind: str, resize: str) -> None:
    steps = msgspec.structs.replace(LITE, resize=resize, channels="BGR", layout="NCHW", mean=(1.0, 2.0, 3.0))
    data = encoded(photo(), kind)

    np.testing.assert_array_equal(row(data, steps), by_hand(Image.open(BytesIO(data)), steps))


@pytest.mark.parametrize("name", sorted(json.loads((SAMPLES / "expected.json").read_text())))
def test_sample_photos_too(name: str) -> None:
    picture = ImageOps.exif_transpose(Image.open(SAMPLES / name))

    np.testing.assert_array_equal(row((SAMPLES / name).read_bytes(), LITE), by_hand(picture, LITE))
    # Pillow 13 resizes some tall pictures down first: one grey level of 255 here and there.
    np.testing.assert_allclose(row((SAMPLES / name).read_bytes(), LITE), reference.row(picture, LITE), atol=2 / 128)


def test_jpegs_decoded_at_a_fraction_are_close(monkeypatch: pytest.MonkeyPatch) -> None:
    data = (SAMPLES / "alp-12mp.jpg").read_bytes()
    exact, served = row(data, LITE), row(data, LITE, SERVED)

    assert not np.array_equal(exact, served)
    assert np.abs(exact - served).mean() * 128 < 1.0  # grey levels of 255
    monkeypatch.setattr(framing, "STRIP_PIXELS", 1000)
    np.testing.assert_array_equal(row(data, LITE, SERVED), served)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("strip_pixels", [1 << 21, 2000])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_stood_upright(
    monkeypatch: pytest.MonkeyPatch, kind: str, orientation: int, strip_pixels: int
) -> None:
    monkeypatch.setattr(framing, "STRIP_PIXELS", strip_pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))

    np.testing.assert_array_equal(row(data, LITE), by_hand(upright, LITE))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "I;16"])
def test_going_in_strips_changes_no_bit(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo().convert("L")).astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        image = photo().convert(mode)
        image.putalpha(photo().getchannel("G"))
    else:
        image = photo().convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    whole = row(data, LITE)
    monkeypatch.setattr(framing, "STRIP_PIXELS", 1500)

    np.testing.assert_array_equal(row(data, LITE), whole)


def grey(value: int, dtype: type, size: int = 8) -> Image.Image:
    return Image.fromarray(np.full((size, size), value, dtype))


MODES: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "1-bit": (lambda: encoded(Image.new("1", (8, 8), 1), "PNG"), (255, 255, 255)),
    "grey": (lambda: encoded(Image.new("L", (8, 8), 77), "PNG"), (77, 77, 77)),
    "grey JPEG": (lambda: encoded(Image.new("L", (8, 8), 77), "JPEG"), (77, 77, 77)),
    "16-bit PNG": (lambda: encoded(grey(77 * 257, np.uint16), "PNG"), (77, 77, 77)),
    "16-bit TIFF": (lambda: encoded(grey(77 * 257, np.uint16), "TIFF"), (77, 77, 77)),
    "32-bit TIFF that fits 16": (lambda: encoded(grey(77 * 257, np.int32), "TIFF"), (77, 77, 77)),
    "32-bit TIFF": (lambda: encoded(grey(1 << 30, np.int32), "TIFF"), (128, 128, 128)),
    "float TIFF to 1": (lambda: encoded(Image.new("F", (8, 8), 0.5), "TIFF"), (128, 128, 128)),
    "float TIFF to 255": (lambda: encoded(Image.new("F", (8, 8), 77.0), "TIFF"), (77, 77, 77)),
    "float TIFF of NaN": (lambda: encoded(Image.new("F", (8, 8), float("nan")), "TIFF"), (0, 0, 0)),
    "palette": (lambda: encoded(Image.new("RGB", (8, 8), (9, 200, 30)).quantize(4), "PNG"), (9, 200, 30)),
    "GIF": (lambda: encoded(Image.new("RGB", (8, 8), (9, 200, 30)), "GIF"), (9, 200, 30)),
    "transparent GIF": (lambda: encoded(Image.new("P", (8, 8), 0), "GIF", transparency=0), (255, 255, 255)),
    "palette with transparency": (
        lambda: encoded(Image.new("P", (8, 8), 0), "PNG", transparency=0), (255, 255, 255),
    ),
    "colour key": (
        lambda: encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), (255, 255, 255),
    ),
    "alpha": (lambda: encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), (255, 127, 127)),
    "alpha WebP": (lambda: encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "WEBP", lossless=True), (255,) * 3),
    "grey with alpha": (lambda: encoded(Image.new("LA", (8, 8), (0, 0)), "PNG"), (255, 255, 255)),
    "CMYK JPEG": (lambda: encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
    "CMYK TIFF": (lambda: encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "LAB TIFF": (lambda: encoded(Image.new("LAB", (8, 8), (128, 28, 128)), "TIFF"), (0, 152, 117)),
    "YCbCr TIFF": (lambda: encoded(Image.new("YCbCr", (8, 8), (77, 128, 128)), "TIFF"), (77, 77, 77)),
    "progressive JPEG": (lambda: encoded(Image.new("RGB", (8, 8), (77,) * 3), "JPEG", progressive=True), (77,) * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_every_mode_shows_its_colour(name: str) -> None:
    make, colour = MODES[name]

    np.testing.assert_allclose(row(make()).reshape(-1, 3), np.array([colour] * 16), atol=2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    assert row(data)[0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def bad_images() -> dict[str, tuple[bytes, type[WireError]]]:
    jpeg = encoded(photo(), "JPEG")
    small = {kind: encoded(photo(40, 30), kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF")}
    huge_gif = small["GIF"][:6] + (65535).to_bytes(2, "little") * 2 + small["GIF"][10:]
    return {
        "empty": (b"", UnsupportedMedia),
        "text": (b"hello, this is not an image at all", UnsupportedMedia),
        "zeros": (bytes(1000), UnsupportedMedia),
        "PDF": (b"%PDF-1.7\n" + bytes(100), UnsupportedMedia),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia),
        "magic alone": (b"\xff\xd8\xff", Undecodable),
        "RIFF that is no WebP": (b"RIFF\x10\x00\x00\x00WAVEfmt " + bytes(50), UnsupportedMedia),
        "a GIF's signature": (b"GIF89a", Undecodable),
        "a PNG's signature": (b"\x89PNG\r\n\x1a\n", Undecodable),
        "half a JPEG": (jpeg[: len(jpeg) // 2], Undecodable),
        "a JPEG's head": (jpeg[:700], Undecodable),
        "a JPEG whose tables are gone": (jpeg.replace(b"\xff\xdb", b"\xff\xfe"), Undecodable),
        **{f"half a {kind}": (data[: len(data) * 3 // 5], Undecodable) for kind, data in small.items()},
        "corrupt PNG": (small["PNG"][:60] + b"\xaa" * 40 + small["PNG"][100:], Undecodable),
        "PNG without data": (png(8, 8, (b"IEND", b"")), Undecodable),
        "PNG of no width": (png(0, 8, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")), Undecodable),
        "PNG bomb": (png(60_000, 60_000, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")), TooLarge),
        "GIF bomb": (huge_gif, TooLarge),
        "wrong magic": (b"\x89PNG\r\n\x1a\n" + jpeg, UnsupportedMedia),
    }


BAD = bad_images()


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("default")  # Pillow warns of what it then refuses; in a node that is no error
def test_a_bad_image_is_the_right_error(name: str) -> None:
    data, error = BAD[name]
    with pytest.raises(error):
        row(data)


def test_a_polyglot_is_what_its_first_header_says() -> None:
    data = encoded(Image.new("RGB", (8, 8), (255, 0, 0)), "PNG")

    assert row(data + b"PK\x03\x04" + b"%PDF" + encoded(photo(), "JPEG"))[0, 0].tolist() == [255, 0, 0]


def test_more_pixels_than_allowed_are_refused_by_the_header_alone() -> None:
    reader = Reader(max_pixels=1000, most_scans=100, jpeg_margin=2)
    with pytest.raises(TooLarge) as caught:
        reader.look(encoded(photo(), "PNG")[:40])

    assert caught.value.extra == {"limit_pixels": 1000}


def test_a_gif_whose_frame_is_larger_than_it_says_is_caught_too() -> None:
    data = bytearray(encoded(Image.new("P", (200, 200)), "GIF"))
    data[6:10] = (8).to_bytes(2, "little") * 2
    reader = Reader(max_pixels=1000, most_scans=100, jpeg_margin=2)
    with pytest.raises(TooLarge):
        row(bytes(data), TINY, reader)


MEASURE = """
import sys
from node.images import Reader
from repository.manifest import Preprocessing
from pathlib import Path
steps = Preprocessing("image", 224, 224, "crop", 0.875, "bicubic", (127.0,) * 3, (128.0,) * 3)
reader = Reader(200_000_000, 100, float(sys.argv[2]))
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10
warm = Path(sys.argv[3]).read_bytes()
reader.read(warm, reader.look(warm), steps)
data = Path(sys.argv[1]).read_bytes()
header = reader.look(data)
Path("/proc/self/clear_refs").write_text("5")
before = peak()
reader.read(data, header, steps)
print(peak() - before, reader.decoded_bytes(data, header, steps))
"""


def growth(path: Path, margin: float) -> tuple[int, int]:
    """Bytes by which a process grew while it read an image, and what was promised."""
    command = [sys.executable, "-c", MEASURE, str(path), str(margin), str(SAMPLES / "cat.jpg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    grown, promised = map(int, re.findall(r"\d+", done.stdout))
    return grown, promised


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's /proc")
def test_memory_for_a_hundred_megapixels_stays_below_what_is_reckoned(tmp_path: Path) -> None:
    image = photo(500, 400).resize((12_500, 8000), Image.Resampling.NEAREST)
    places = {
        (2.0, "baseline.jpg"): {"quality": 80},
        (0.0, "baseline.jpg"): {"quality": 80},
        (2.0, "progressive.jpg"): {"quality": 80, "progressive": True, "subsampling": 0},
        (0.0, "plain.png"): {"compress_level": 1},
    }
    for (margin, name), options in places.items():
        if not (tmp_path / name).exists():
            image.save(tmp_path / name, **options)
        grown, promised = growth(tmp_path / name, margin)
        assert grown <= promised, name
        if margin and name == "baseline.jpg":
            assert grown < 32 << 20
