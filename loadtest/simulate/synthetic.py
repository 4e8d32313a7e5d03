"""Made-up load: Poisson or bursty arrivals of images with a log-normal spread of sizes, a share of them oversized.

The recipe of the evidence in docs/decisions: 10 ms + 30 ms per megapixel, median 1 MP, sigma 0.6; 5 % oversized, 20
times the work; true work off the prediction by a log-normal factor. Seeded, and drawn in an order that must not change:
tests compare with figures of another simulator on the same draws.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.simulate.arrivals import Arrival, Load

BASE_MS = 10.0
MS_PER_MP = 30.0
LIGHT_BYTES = 100_000  # about 2 ms on the way
HEAVY_BYTES = 1_000_000  # about 20 ms

Floats = NDArray[np.float64]


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of a made-up load."""

    requests: int = 40_000
    utilisation: float = 0.8
    bursty: bool = False  # a tenth of the time at 2.5 times the mean rate, bursts of one second
    oversized: float = 0.05  # share of requests
    factor: float = 20.0  # work of an oversized one over a light one of the same draw
    sigma: float = 0.6  # spread of sizes
    noise: float = 0.1  # spread of true work around the prediction
    seed: int = 1

    def mean_seconds(self) -> float:
        """Expected work of one request at speed 1."""
        light = (BASE_MS + MS_PER_MP * np.exp(self.sigma * self.sigma / 2)) * 1e-3
        return float(light * (1 + self.oversized * (self.factor - 1)))


def draw(mix: Mix, power: float) -> Load:
    """Arrivals for a fleet whose speeds times slots sum to `power`."""
    rng = np.random.default_rng(mix.seed)
    n = mix.requests
    work = 0.010 + 0.030 * rng.lognormal(0, mix.sigma, n)
    heavy = rng.random(n) < mix.oversized
    work = np.where(heavy, work * mix.factor, work)
    rate = mix.utilisation * power / mix.mean_seconds()
    units = np.cumsum(rng.exponential(1, n))
    times = _bursts(rng, units, rate) if mix.bursty else units / rate
    actual = work * rng.lognormal(0, mix.noise, n)
    arrivals = [
        _arrival(at, cost, true, big)
        for at, cost, true, big in zip(times.tolist(), work.tolist(), actual.tolist(), heavy.tolist(), strict=True)
    ]
    name = f"{'bursty' if mix.bursty else 'Poisson'} {mix.utilisation:.0%}, {mix.oversized:.0%} oversized"
    return Load(name=name, arrivals=arrivals)


def _arrival(at: float, cost: float, true: float, heavy: bool) -> Arrival:
    return Arrival(
        at=at,
        cost_ms=cost * 1e3,
        actual_ms=true * 1e3,
        heavy=heavy,
        pixels=max(1, round((cost * 1e3 - BASE_MS) / MS_PER_MP * 1e6)),
        body_bytes=HEAVY_BYTES if heavy else LIGHT_BYTES,
    )


def _bursts(rng: np.random.Generator, units: Floats, rate: float) -> Floats:
    """A Markov-modulated Poisson process of two states: calm 9 s, burst 1 s on average."""
    cycles = int(units[-1] / rate / 10 * 2) + 50
    lengths = np.empty(2 * cycles)
    lengths[0::2], lengths[1::2] = rng.exponential(9, cycles), rng.exponential(1, cycles)
    rates = np.tile([rate / 1.2, 2.5 * rate], cycles)
    reached = np.concatenate([[0], np.cumsum(lengths * rates)])
    return np.asarray(np.interp(units, reached, np.concatenate([[0], np.cumsum(lengths)])))
