"""What decoding and running cost on this node, in milliseconds: learned as it works. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

# Decoding, milliseconds per megapixel, before anything was measured; measured on one core of a server of 2024.
_DECODE_PRIOR = {"jpeg": 2.0, "png": 25.0, "webp": 20.0, "gif": 8.0, "bmp": 6.0, "tiff": 15.0}
_FLOOR_MS = 0.3  # opening, cutting and scaling the smallest picture
_RUN_PRIOR_MS = 20.0
_MOST_BUCKETS = 1024  # shapes are as many as clients send; the longest unused is forgotten
_WEIGHT = 0.1  # of a new measurement
_MOST_TIMES = 10.0  # one measurement moves an estimate as if it were at most so many times the estimate


class Costs:
    """Moving averages: per image format, and per bucket and batch size."""

    def __init__(self) -> None:
        self._decode = dict(_DECODE_PRIOR)
        self._run: OrderedDict[Hashable, dict[int, float]] = OrderedDict()

    def decode_ms(self, image_format: str, pixels: int) -> float:
        """Predicted decoding time."""
        return _FLOOR_MS + self._decode[image_format] * pixels / 1e6

    def learn_decode(self, image_format: str, pixels: int, ms: float) -> None:
        """One decoding that went well. Small pictures say little about the time per pixel."""
        if pixels >= 250_000:
            self._decode[image_format] = _moved(self._decode[image_format], max(0.0, ms - _FLOOR_MS) / (pixels / 1e6))

    def run_ms(self, bucket: Hashable, size: int) -> float:
        """Predicted time of a batch; sizes never run are drawn from the nearest one, in proportion."""
        known = self._run.get(bucket)
        if not known:
            return _RUN_PRIOR_MS * size
        if size in known:
            return known[size]
        nearest = min(known, key=lambda have: abs(have - size))
        return known[nearest] * size / nearest

    def expect_run(self, bucket: Hashable, times: Mapping[int, float]) -> None:
        """Start from `times` by batch size, measured while warming."""
        self._known(bucket).update(times)

    def learn_run(self, bucket: Hashable, size: int, ms: float) -> None:
        """One batch that went well."""
        known = self._known(bucket)
        known[size] = _moved(known[size], ms) if size in known else ms

    def known_run(self, bucket: Hashable) -> Mapping[int, float]:
        """What has been learned of a bucket, by batch size."""
        return self._run.get(bucket, {})

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """The model of all buckets for which `gone` says so is not served any more."""
        for bucket in [bucket for bucket in self._run if gone(bucket)]:
            del self._run[bucket]

    def _known(self, bucket: Hashable) -> dict[int, float]:
        known = self._run.setdefault(bucket, {})
        self._run.move_to_end(bucket)
        if len(self._run) > _MOST_BUCKETS:
            self._run.popitem(last=False)
        return known


def _moved(old: float, new: float) -> float:
    return old + _WEIGHT * (min(new, _MOST_TIMES * old + 1.0) - old)
