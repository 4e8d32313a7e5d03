"""Real images of real sizes, made once from the photos that the repository ships; the same for every seed.

Making them takes seconds of two cores, so they are kept below `var/photos` for the next run and for other processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import msgspec
import PIL
from PIL import Image

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
KEPT = Path("var/photos")
SMALL_MEGAPIXELS = (0.1, 0.3, 0.6, 1.0, 1.6, 2.5)
OVERSIZED_MEGAPIXELS = (12.0, 16.0, 24.0)
OVERSIZED_SAMPLES = frozenset({"alp-12mp.jpg", "spaniels.jpg"})
JPEG_QUALITY = 88
MAKERS = min(4, os.cpu_count() or 1)  # Pillow resizes and encodes outside the interpreter's lock


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded image, its size class, and the label that its answer must put first ("": any)."""

    body: bytes
    size_class: str  # small | oversized
    pixels: int
    label: str


class _Wanted(msgspec.Struct, frozen=True):
    """One photo to be made."""

    sample: str
    size_class: str
    pixels: float
    label: str


def photos(seed: int = 1, kept: Path = KEPT) -> dict[str, list[Photo]]:
    """Photos by size class: every sample at every small size, two of them at every oversized one."""
    wanted = _wanted(seed)
    folder = kept / _digest(wanted)
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of one run make them once
        if not folder.exists():
            _make(wanted, folder)
    made = [_photo(each, (folder / f"{number}.jpg").read_bytes()) for number, each in enumerate(wanted)]
    return {name: [photo for photo in made if photo.size_class == name] for name in ("small", "oversized")}


def _wanted(seed: int) -> list[_Wanted]:
    chance = random.Random(seed)
    expected: dict[str, str] = json.loads((SAMPLES / "expected.json").read_text())
    found = []
    for name, label in sorted(expected.items()):
        found += [_Wanted(name, "small", size * 1e6 * chance.uniform(0.9, 1.1), label) for size in SMALL_MEGAPIXELS]
        if name in OVERSIZED_SAMPLES:
            found += [_Wanted(name, "oversized", size * 1e6, label) for size in OVERSIZED_MEGAPIXELS]
    return found


def _digest(wanted: list[_Wanted]) -> str:
    """Changes with everything that the photos depend on."""
    told = hashlib.sha256(msgspec.json.encode([wanted, JPEG_QUALITY, PIL.__version__]))
    for name in sorted({each.sample for each in wanted}):
        told.update((SAMPLES / name).read_bytes())
    return told.hexdigest()[:16]


def _make(wanted: list[_Wanted], folder: Path) -> None:
    originals = {}
    for name in {each.sample for each in wanted}:
        with Image.open(SAMPLES / name) as image:
            originals[name] = image.convert("RGB")
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    fresh.mkdir()
    with ThreadPoolExecutor(MAKERS) as makers:
        bodies = makers.map(lambda each: _sized(originals[each.sample], each.pixels), wanted)
        for number, body in enumerate(bodies):
            (fresh / f"{number}.jpg").write_bytes(body)
    fresh.rename(folder)


def _sized(original: Image.Image, pixels: float) -> bytes:
    scale = (pixels / (original.width * original.height)) ** 0.5
    size = (round(original.width * scale), round(original.height * scale))
    out = BytesIO()
    original.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _photo(wanted: _Wanted, body: bytes) -> Photo:
    with Image.open(BytesIO(body)) as image:
        return Photo(body, wanted.size_class, image.width * image.height, wanted.label)
