"""Users in ten steps up to `-u`, until the target does not bear a step: `--knee-ms` is p99 of small photos."""

from __future__ import annotations

import logging

from loadtest.locustfile import OipUser, PlainUser, TensorFlowServingUser
from loadtest.schedule import Phase, knee, phase_at
from loadtest.shapes.scheduled import Scheduled
from loadtest.table import Row, Rows, size_classes

__all__ = ["Knee", "OipUser", "PlainUser", "TensorFlowServingUser"]
BORNE = 0.01  # share of requests of a step that may fail


class Knee(Scheduled):
    """Stops where it hurts, and says how many users were borne."""

    schedule = staticmethod(knee)
    step = 0
    before: Rows | None = None

    def tick(self) -> tuple[int, float] | None:
        """Judge a step when it is over."""
        plan = self.plan
        number = phase_at(plan, self.seconds)
        if number != self.step:
            now = size_classes(self.runner.stats)
            why = too_much(now.since(self.before), self.options.knee_ms)
            if why or number is None:
                _say(plan, self.step, why)
                return None
            self.step, self.before = number, now
        return super().tick()


def too_much(step: Rows, knee_ms: float) -> str:
    """Why the target did not bear a step; "" when it did."""
    sent, failures = sum(row.requests for row in step.rows), sum(row.failures for row in step.rows)
    if failures > BORNE * sent:
        return f"{failures} of {sent} requests failed"
    small: Row | None = next((row for row in step.rows if row.size_class == "small"), None)
    return f"p99 of small photos was {small.p99:.0f} ms" if small and small.p99 > knee_ms else ""


def _say(plan: list[Phase], step: int, why: str) -> None:
    borne = plan[step - 1].end if why and step else 0.0 if why else plan[step].end
    logging.getLogger("knee").warning("%.0f users were borne%s", borne, f"; more were too many: {why}" if why else "")
