"""All users for long: what creeps shows."""

from __future__ import annotations

from loadtest.locustfile import OipUser, PlainUser, TensorFlowServingUser
from loadtest.schedule import soak
from loadtest.shapes.scheduled import Scheduled

__all__ = ["OipUser", "PlainUser", "Soak", "TensorFlowServingUser"]


class Soak(Scheduled):
    """`-u` users at most, `-t` long."""

    schedule = staticmethod(soak)
