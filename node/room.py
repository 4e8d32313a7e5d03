"""Bytes that may be held at once. Pure."""

from __future__ import annotations

# Small pictures have a share of their own, so that none of them waits for a big one to leave.
SMALL_SHARE = 1 / 16
LEAST_ASIDE_BYTES = 36 << 20  # below it next to none would be small enough
ASIDE_BYTES = 48 << 20  # what a worker process may decode itself: 12 megapixels of JPEG on their way to a model


class Room:
    """A limit on bytes held, in two lanes: small takes have a sixteenth to themselves, big ones share the rest.

    Whoever waits for a lane waits for its turn there, so a big one is not starved by smaller ones that would fit.
    """

    __slots__ = ("_aside", "big", "held_big", "held_small", "small", "small_bytes")

    def __init__(self, limit: int, workers: int = 0) -> None:
        """`workers` processes decode small pictures themselves, one at a time each; that takes a third at most."""
        aside = min(ASIDE_BYTES, limit // (3 * workers)) if workers else 0
        self._aside = aside if aside >= LEAST_ASIDE_BYTES else 0
        self.small = int(limit * SMALL_SHARE)
        self.big = limit - self.small - workers * self._aside
        self.small_bytes = self.small // 2  # up to here a take counts as small
        self.held_small = self.held_big = 0

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self.held_small + self.held_big

    def is_small(self, size: int) -> bool:
        """Which lane a take of `size` uses."""
        return size <= self.small_bytes

    def fits_aside(self, size: int) -> bool:
        """Whether a worker process may decode a picture of `size`, beside what is counted here."""
        return size <= self._aside

    def ever_fits(self, size: int) -> bool:
        """Whether `size` could be taken if nothing else were held."""
        return size <= self.big

    def take(self, size: int) -> bool:
        """Hold `size` more bytes, if there is room."""
        if self.is_small(size):
            if self.held_small + size > self.small:
                return False
            self.held_small += size
            return True
        if self.held_big + size > self.big:
            return False
        self.held_big += size
        return True

    def give(self, size: int) -> None:
        """Give back what one `take(size)` took."""
        if self.is_small(size):
            self.held_small -= size
        else:
            self.held_big -= size
        assert self.held_small >= 0 <= self.held_big
