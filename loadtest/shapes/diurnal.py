"""A day in miniature."""

from __future__ import annotations

from loadtest.locustfile import OipUser, PlainUser, TensorFlowServingUser
from loadtest.schedule import diurnal
from loadtest.shapes.scheduled import Scheduled

__all__ = ["Diurnal", "OipUser", "PlainUser", "TensorFlowServingUser"]


class Diurnal(Scheduled):
    """`-u` users at most, `-t` long."""

    schedule = staticmethod(diurnal)
