"""Real images of real sizes, made once at start from the photos that the repository ships; the same for every seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
SMALL_MEGAPIXELS = (0.1, 0.3, 0.6, 1.0, 1.6, 2.5)
OVERSIZED_MEGAPIXELS = (12.0, 16.0, 24.0)
JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded image, its size class, and the label that its answer must put first."""

    body: bytes
    size_class: str  # small | oversized
    pixels: int
    label: str


def photos(seed: int = 1) -> dict[str, list[Photo]]:
    """Photos by size class: every sample at every small size, two of them at every oversized one."""
    chance = random.Random(seed)
    expected: dict[str, str] = json.loads((SAMPLES / "expected.json").read_text())
    small, oversized = [], []
    for name, label in sorted(expected.items()):
        with Image.open(SAMPLES / name) as image:
            original = image.convert("RGB")
        small += [_sized(original, size * chance.uniform(0.9, 1.1), "small", label) for size in SMALL_MEGAPIXELS]
        if name in {"alp-12mp.jpg", "spaniels.jpg"}:
            oversized += [_sized(original, size, "oversized", label) for size in OVERSIZED_MEGAPIXELS]
    return {"small": small, "oversized": oversized}


def _sized(original: Image.Image, megapixels: float, size_class: str, label: str) -> Photo:
    scale = (megapixels * 1e6 / (original.width * original.height)) ** 0.5
    size = (round(original.width * scale), round(original.height * scale))
    resized = original.resize(size, Image.Resampling.LANCZOS)
    out = BytesIO()
    resized.save(out, "JPEG", quality=JPEG_QUALITY)
    return Photo(out.getvalue(), size_class, resized.width * resized.height, label)
