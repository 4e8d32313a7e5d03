"""A quarter of the users, suddenly all of them, a quarter again."""

from __future__ import annotations

from loadtest.locustfile import OipUser, PlainUser, TensorFlowServingUser
from loadtest.schedule import spike
from loadtest.shapes.scheduled import Scheduled

__all__ = ["OipUser", "PlainUser", "Spike", "TensorFlowServingUser"]


class Spike(Scheduled):
    """`-u` users at most, `-t` long."""

    schedule = staticmethod(spike)
