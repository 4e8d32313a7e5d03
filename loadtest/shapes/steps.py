"""Up in five equal steps."""

from __future__ import annotations

from loadtest.locustfile import OipUser, PlainUser, TensorFlowServingUser
from loadtest.schedule import steps
from loadtest.shapes.scheduled import Scheduled

__all__ = ["OipUser", "PlainUser", "Steps", "TensorFlowServingUser"]


class Steps(Scheduled):
    """`-u` users at most, `-t` long."""

    schedule = staticmethod(steps)
