"""What a parent leaves to the program that takes its place, in the same process: descriptors, workers, memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from gateway.journal import Event, HistoryRow
from gateway.workers.member import Member
from gateway.workers.told import Family


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """One worker."""

    number: int
    place: int
    pid: int
    line: int  # descriptor
    operators: str
    leaving: bool
    families: list[Family]


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Descriptors are inherited; the rest is read from a file."""

    sockets: list[int]  # public, listening
    listen: tuple[str, int]  # what the configuration called them
    operators: list[int]
    operator: tuple[str, int]
    workers: list[Left]
    nodes: list[tuple[str, str, dict[str, Any]]]  # orders that hold
    routing: list[dict[str, Any]]
    retired: list[Family]
    events: list[Event]
    history: list[HistoryRow]


def left(member: Member) -> Left:
    """One worker, let go."""
    process = member.process
    return Left(
        number=process.number,
        place=process.place,
        pid=process.pid,
        line=process.hand_over(),
        operators=str(process.operators),
        leaving=member.leaving,
        families=member.families,
    )


def leave(handover: Handover, folder: Path) -> Path:
    """Write it down, and let the descriptors through the exec. Lines are let through by whoever gives them up."""
    for fd in (*handover.sockets, *handover.operators):
        os.set_inheritable(fd, True)
    path = folder / "handover"
    path.write_bytes(msgspec.msgpack.encode(handover))
    return path


def take(path: Path) -> Handover:
    """Read it, once; from now on children inherit nothing of it. Raises OSError or ValueError."""
    handover = msgspec.msgpack.decode(path.read_bytes(), type=Handover)
    path.unlink()
    for fd in (*handover.sockets, *handover.operators, *(worker.line for worker in handover.workers)):
        os.set_inheritable(fd, False)
    return handover
