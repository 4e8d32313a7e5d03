"""A worker process: one warm session, and one batch at a time for the node that started it.

It ends when the node does, whatever it is doing then.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from node import carrying
from node.batch_run import run_batch
from node.images import Reader, guard_pillow
from node.session import Session
from repository.manifest import ArtefactError
from wire.errors import WireError


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to hold."""

    artefact: Path
    threads: int
    device: Literal["auto", "cpu", "gpu"]
    max_rows: int
    gently: bool
    reader: Reader


@dataclass(frozen=True, slots=True)
class Warm:
    """Its first answer, after lines of progress."""

    buckets: tuple[int, ...]
    device: str


def main(connection: Connection, order: Order) -> None:
    """Until the connection ends."""
    _end_with_the_node()
    guard_pillow(order.reader.max_pixels)

    def tell(line: str) -> None:
        carrying.send(connection, line)

    try:
        session = Session.load(
            order.artefact,
            order.threads,
            device=order.device,
            max_rows=order.max_rows,
            gently=order.gently,
            progress=tell,
        )
    except Exception as error:  # carried to the node, whatever it is
        carrying.send(connection, _carried(error))
        return
    try:
        carrying.send(connection, Warm(session.buckets, session.device))
        while True:
            carrying.send(connection, _answer(session, order, carrying.receive(connection)))
    except (EOFError, OSError):
        return


def _answer(session: Session, order: Order, asked: object) -> object:
    try:
        if asked is None:
            session.probe()
            return None
        if isinstance(asked, dict):
            return session.run(asked)
        assert isinstance(asked, list)
        return run_batch(session.run, order.reader, session.manifest, asked)
    except Exception as error:  # carried to the node, whatever it is
        return _carried(error)


def _carried(error: Exception) -> Exception:
    """Errors of libraries cannot be trusted to be made again elsewhere."""
    if isinstance(error, (WireError, ArtefactError)):
        return error
    return RuntimeError(str(error) or type(error).__name__)


def _end_with_the_node() -> None:
    """Not before it, by a signal to all; and not after it, in a run that never ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch_the_node, name="watch the node", daemon=True).start()


def _watch_the_node() -> None:
    node = multiprocessing.parent_process()
    assert node is not None
    wait([node.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
