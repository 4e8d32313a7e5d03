"""What a request will cost: milliseconds on a node of speed 1, from model, format, pixels and bytes.

Per model and format a line a + b x megapixels (megabytes when the header could not be read), kept as decayed sums and
anchored by a few imagined points of the prior, so that one size repeated for ever cannot make the line swing.
Only service times measured by nodes teach; what cannot be true is cut to what can.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

FLOOR_MS = 0.1
CEILING_MS = 3_600_000.0
STEP = 4.0  # one observation may not claim more than this factor of change
DECAY = 0.995  # memory of about 200 observations
SETTLED = 64  # observations
TABLE = 1024  # models x formats; beyond it the prior serves
ERROR_ALPHA = 0.02

# a [ms], b [ms per megapixel] of decoding and running a model of fixed input on one core. Not measured to the digit:
# the order of magnitude is enough, since a hundred answers replace it.
PRIOR: Mapping[str, tuple[float, float]] = {
    "jpeg": (15.0, 8.0),
    "png": (15.0, 25.0),
    "webp": (15.0, 20.0),
    "gif": (15.0, 12.0),
    "bmp": (15.0, 5.0),
    "tiff": (15.0, 10.0),
}
PRIOR_OTHER = (15.0, 12.0)
PRIOR_BYTES = (15.0, 40.0)  # per megabyte
ANCHORS = (0.1, 1.0, 10.0, 50.0)  # where the prior's imagined points stand, MP or MB
ANCHOR_WEIGHT = 0.4
PATIENCE = 0.2  # how much of the imagined points counts when the scale is learned


class Line:
    """A robust, weighted, forgetful least-squares line for x from zero up.

    The scale is learned first, by itself; the prior only says how the line is bent: its imagined points stand on the
    prior times that scale.
    """

    __slots__ = ("a", "b", "bend", "n", "prior", "sw", "swx", "swxx", "swxy", "swy", "x0")

    def __init__(self, prior: tuple[float, float]) -> None:
        self.prior = prior
        self.a, self.b = prior
        self.x0 = prior[0] / prior[1]  # the x where the fixed part and the growing part are equal
        self.bend = _imagined(*prior)
        self.n = 0
        self.sw = self.swx = self.swy = self.swxx = self.swxy = 0.0

    def at(self, x: float) -> float:
        """Predicted milliseconds, never zero and never endless."""
        y = self.a + self.b * x
        return FLOOR_MS if y < FLOOR_MS else CEILING_MS if y > CEILING_MS else y

    def learn(self, x: float, y: float) -> None:
        """Take one observation. Its weight falls with the square of what it should cost: errors grow with the value."""
        expected = self.at(x)
        if y > expected * STEP:
            y = expected * STEP
        elif y < expected / STEP:
            y = expected / STEP
        weight = ((1.0 + self.x0) / (x + self.x0)) ** 2
        wx = weight * x
        self.sw = self.sw * DECAY + weight
        self.swx = self.swx * DECAY + wx
        self.swy = self.swy * DECAY + weight * y
        self.swxx = self.swxx * DECAY + wx * x
        self.swxy = self.swxy * DECAY + wx * y
        self.n += 1
        if self.n < SETTLED or self.n % 8 == 0:  # by then one observation hardly moves it
            self._solve()

    def _solve(self) -> None:
        a0, b0 = self.prior
        w0, x0, y0, xx0, xy0 = self.bend
        scale = (self.swy + PATIENCE * y0) / (a0 * self.sw + b0 * self.swx + PATIENCE * y0)
        sw, swx, swy = self.sw + w0, self.swx + x0, self.swy + y0 * scale
        swxx, swxy = self.swxx + xx0, self.swxy + xy0 * scale
        slope = (sw * swxy - swx * swy) / (sw * swxx - swx * swx)
        # Neither part may be negative: a bigger image is never cheaper, nothing is free.
        self.b = max(0.0, slope)
        self.a = (swy - self.b * swx) / sw
        if self.a < 0.0:
            self.a, self.b = 0.0, swxy / swxx
        self.x0 = min(50.0, max(0.05, self.a / self.b)) if self.b > 0.0 else 50.0


def _imagined(a: float, b: float) -> tuple[float, float, float, float, float]:
    """The sums of the prior's imagined points."""
    x0 = a / b
    points = [(x, a + b * x, ANCHOR_WEIGHT * ((1.0 + x0) / (x + x0)) ** 2) for x in ANCHORS]
    return (
        sum(weight for _, _, weight in points),
        sum(weight * x for x, _, weight in points),
        sum(weight * y for _, y, weight in points),
        sum(weight * x * x for x, _, weight in points),
        sum(weight * x * y for x, y, weight in points),
    )


class Costs:
    """Predictions by model and format, learned from what nodes say about themselves."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Line] = {}
        self._errors: dict[str, float] = {}

    def predict(self, model: str, image_format: str, pixels: int, body_bytes: int) -> float:
        """Milliseconds on a node of speed 1. By bytes when there are no pixels to go by."""
        if pixels > 0:
            line = self._lines.get((model, image_format))
            x = pixels * 1e-6
            if line is not None:
                return line.at(x)
            a, b = PRIOR.get(image_format, PRIOR_OTHER)
            return min(CEILING_MS, a + b * x)
        line = self._lines.get((model, ""))
        x = max(0, body_bytes) * 1e-6
        if line is not None:
            return line.at(x)
        return min(CEILING_MS, PRIOR_BYTES[0] + PRIOR_BYTES[1] * x)

    def observed(
        self, model: str, image_format: str, pixels: int, body_bytes: int, service_ms: float, speed: float
    ) -> None:
        """Learn from a node of announced `speed` that worked `service_ms` on such a request."""
        if not (0.0 < service_ms < inf and speed > 0.0):
            return
        kind = image_format if pixels > 0 else ""
        line = self._lines.get((model, kind)) or self._new_line(model, kind, pixels > 0)
        if line is not None:
            line.learn((pixels if pixels > 0 else max(0, body_bytes)) * 1e-6, service_ms * speed)

    def _new_line(self, model: str, kind: str, by_pixels: bool) -> Line | None:
        if len(self._lines) >= TABLE:
            return None
        prior = PRIOR.get(kind, PRIOR_OTHER) if by_pixels else PRIOR_BYTES
        line = self._lines[model, kind] = Line(prior)
        return line

    def judged(self, model: str, predicted_ms: float, actual_ms: float) -> None:
        """Keep the mean relative error of predictions, node speed included."""
        if actual_ms <= 0.0:
            return
        error = min(STEP, abs(predicted_ms - actual_ms) / actual_ms)
        known = self._errors.get(model)
        if known is None and len(self._errors) >= TABLE:
            return
        self._errors[model] = error if known is None else known + ERROR_ALPHA * (error - known)

    def errors(self) -> Mapping[str, float]:
        """Mean relative error of recent predictions by model: 0.1 is ten percent off."""
        return self._errors

    def table(self) -> list[tuple[str, str, float, float, int]]:
        """What was learned: model, format ("" is by megabytes), a, b, observations."""
        return [(model, kind, line.a, line.b, line.n) for (model, kind), line in sorted(self._lines.items())]
