"""May this node be used? The verdicts of registry, probes, requests and operators, joined to one word.

No single source is believed alone: the registry may be stale, a probe may be lost, an answer may have been bad luck.
"""

from __future__ import annotations

from enum import StrEnum

from discovery.instance import Status
from gateway.config import Health

NEVER = float("-inf")  # a moment before every other
FLAP_MEMORY = 60.0  # seconds a fall to critical is remembered
FLAP_HOLD = 10.0  # seconds of calm, times the falls before, that a flapping node must show


class State(StrEnum):
    """What a node is good for, the best first."""

    HEALTHY = "healthy"
    UNLISTED = "unlisted"  # gone from the registry, yet it passes our probes: used on (Envoy's rule)
    DEGRADED = "degraded"  # a registry warning: used only if nobody healthy is left
    CRITICAL = "critical"
    EJECTED = "ejected"
    DRAINING = "draining"


WELCOME = frozenset({State.HEALTHY, State.UNLISTED})


class Standing:
    """One node's record with everybody who judges it. Times are seconds on the caller's clock."""

    __slots__ = (
        "calm_at", "ejected_until", "ejections", "failures", "falls", "health", "last_error", "last_error_at",
        "listed", "operator", "operator_why", "probe_at", "probe_failures", "probe_why", "probed", "reason", "since",
        "state", "status", "why",
    )  # fmt: skip

    def __init__(self, health: Health, now: float) -> None:
        self.health = health
        self.status = Status.PASSING
        self.listed = True
        self.probed: bool | None = None  # the last probe's verdict; None before the first
        self.probe_at = now
        self.probe_failures = 0
        self.probe_why = ""
        self.failures = 0  # consecutive, by requests
        self.ejections = 0
        self.ejected_until = NEVER
        self.reason = ""  # of the ejection
        self.operator = ""  # "", "drain", "eject"
        self.operator_why = ""
        self.falls: list[float] = []
        self.calm_at = NEVER
        self.last_error = ""
        self.last_error_at = 0.0
        self.state = State.HEALTHY
        self.why = "just joined"
        self.since = now

    def listed_as(self, status: Status, now: float) -> None:
        """The registry's word. A node that falls to critical again and again must be calm before it is used again."""
        self.listed = True
        if status is Status.CRITICAL and self.status is not Status.CRITICAL:
            self.falls = [fall for fall in self.falls if 0 <= now - fall < FLAP_MEMORY][-5:]
            if self.falls:
                self.calm_at = now + FLAP_HOLD * len(self.falls)
            self.falls.append(now)
        self.status = status

    def probe(self, ok: bool, now: float, why: str) -> None:
        """The verdict of one active probe."""
        self.probe_at = now
        self.probe_why = why
        self.probe_failures = 0 if ok else self.probe_failures + 1
        if ok:
            self.probed = True
        elif self.probe_failures >= self.health.probe_failures:
            self.probed = False

    def error(self, code: str, now: float) -> bool:
        """Count a failed attempt; true when the node has failed often enough to be ejected."""
        self.failures += 1
        self.last_error, self.last_error_at = code, now
        return self.failures >= self.health.eject_failures

    def eject(self, reason: str, now: float, jitter: float) -> None:
        """Out for a while, longer every time (Envoy); `jitter` in 0..1 keeps ejected nodes from returning together."""
        if now - self.ejected_until > self.health.eject_max_seconds:
            self.ejections = 0  # it behaved for long enough
        self.ejections += 1
        seconds = min(self.health.eject_max_seconds, self.health.eject_seconds * self.ejections)
        self.ejected_until = now + seconds * (1.0 + 0.1 * jitter)
        self.reason = reason

    def pardon(self) -> None:
        """Back at once, with a clean record."""
        self.ejected_until = self.calm_at = NEVER
        self.failures = self.ejections = 0
        self.falls.clear()

    def serve_out(self, now: float) -> None:
        """An ejection that has ended leaves one strike: the next failure ejects again."""
        if now >= self.ejected_until > NEVER:
            self.failures = min(self.failures, self.health.eject_failures - 1)

    def judge(self, now: float) -> tuple[State, str]:  # noqa: PLR0911 - one row per rule
        """The word and its reason. The order is the order of authority: operator, registry, probe, requests."""
        self._distrust_clock(now)
        if self.operator == "drain":
            return State.DRAINING, self.operator_why
        if self.status is Status.MAINTENANCE:
            return State.DRAINING, "maintenance in the registry"
        if self.operator == "eject":
            return State.EJECTED, self.operator_why
        if self.probed is False:
            return State.EJECTED, f"probe failed: {self.probe_why}" if self.probe_why else "probe failed"
        if self.status is Status.CRITICAL:
            return State.CRITICAL, "critical in the registry"
        if now < self.calm_at:
            return State.CRITICAL, f"flapping in the registry: {len(self.falls)} falls in a minute"
        if now < self.ejected_until:
            return State.EJECTED, self.reason
        if not self.listed:
            return State.UNLISTED, "gone from the registry, but it passes our probes"
        if self.status is Status.WARNING:
            return State.DEGRADED, "warning in the registry"
        return State.HEALTHY, "passing"

    def next_change(self, now: float) -> float:
        """When the verdict may change by time alone; infinity if it will not."""
        times = [at for at in (self.calm_at, self.ejected_until) if at > now]
        return min(times, default=float("inf"))

    @property
    def spare(self) -> bool:
        """Whether it may be used in panic: ejected by requests alone, or critical although our own probe passes."""
        if self.operator or self.probed is False:
            return False
        if self.state is State.CRITICAL:
            return self.probed is True
        return self.state is State.EJECTED

    def _distrust_clock(self, now: float) -> None:
        """A clock that jumped back must not lock anybody out for longer than the rule allows."""
        if self.ejected_until - now > 1.1 * self.health.eject_max_seconds:
            self.ejected_until = now + self.health.eject_max_seconds
        if self.calm_at - now > FLAP_HOLD * 6:
            self.calm_at = now + FLAP_HOLD
