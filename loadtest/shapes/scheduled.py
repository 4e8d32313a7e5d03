"""What all shapes share: users as a schedule says, `-u` its peak, `-t` its length."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from locust import LoadTestShape

from loadtest.schedule import Phase, phase_at, rate_at

DEFAULT_SECONDS = 300


class Scheduled(LoadTestShape):
    """Follows `schedule`."""

    abstract = True
    use_common_options = True
    schedule: Callable[[float, float], list[Phase]]
    runner: Any  # Locust's own, there when tick is called

    @property
    def options(self) -> Any:
        """What the command line says."""
        return self.runner.environment.parsed_options

    @property
    def plan(self) -> list[Phase]:
        """The phases."""
        users, seconds = self.options.num_users or 1, self.options.run_time or DEFAULT_SECONDS
        return type(self).schedule(float(users), float(seconds))

    @property
    def seconds(self) -> float:
        """Since the start; `start_time` is Locust's."""
        return time.perf_counter() - float(self.start_time)

    def tick(self) -> tuple[int, float] | None:
        """Users and how fast they come; None ends the run. Locust asks once a second."""
        plan, at = self.plan, self.seconds
        if phase_at(plan, at) is None:
            return None
        users = max(1, round(rate_at(plan, at)))
        return users, float(max(1, abs(users - self.runner.user_count)))
