"""What is sent: small photos, 12-megapixel photos, or a few of these among many of those."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from loadtest.images import Photo, photos
from loadtest.openloop.mix import Sendable
from loadtest.serving.client import Draw

_SMALL_PIXELS = 150_000  # about 0.1 MP and up to this
_LARGE_PIXELS = 13_000_000
SHARES = {"small": 0.0, "12 MP": 1.0, "mix": 0.05}  # of 12-megapixel photos


def chosen() -> tuple[list[Photo], list[Photo]]:
    """Small and large ones."""
    found = photos()
    small = [photo for photo in found["small"] if photo.pixels <= _SMALL_PIXELS]
    return small, [photo for photo in found["oversized"] if photo.pixels <= _LARGE_PIXELS]


def drawing(images: str, sendable: Callable[[Photo], Sendable]) -> Draw:
    """Draws requests of one of SHARES; every photo is encoded once."""
    small, large = ([sendable(photo) for photo in group] for group in chosen())
    share = SHARES[images]

    def draw(rng: Random) -> Sendable:
        return rng.choice(large if rng.random() < share else small)

    return draw


def cycle(images: str) -> list[bytes]:
    """The same as bodies, in an order that a loop may repeat."""
    small, large = ([photo.body for photo in group] for group in chosen())
    share = SHARES[images]
    if share in (0.0, 1.0):
        return large if share else small
    between = round(1 / share) - 1
    return [
        body for n, big in enumerate(large) for body in (*(small[(n + k) % len(small)] for k in range(between)), big)
    ]
