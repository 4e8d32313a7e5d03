"""Messages between the node and its worker processes: pickled, large buffers beside the pickle and not through it."""

from __future__ import annotations

import pickle
import struct
from multiprocessing.connection import Connection
from typing import Any

_COUNT = struct.Struct("<I")
_LARGE = 16384  # below this a buffer of its own costs more than the copy it saves


def beside(data: bytes) -> Any:
    """`data` as a message should hold it: not copied into the pickle when it is large."""
    return pickle.PickleBuffer(data) if len(data) > _LARGE else data


def send(connection: Connection, message: object) -> None:
    """Raises OSError when nobody reads any more."""
    buffers: list[pickle.PickleBuffer] = []

    def keeps(buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as raw:
            large = raw.nbytes > _LARGE
        if large:
            buffers.append(buffer)
        return not large

    pickled = pickle.dumps(message, protocol=5, buffer_callback=keeps)
    connection.send_bytes(_COUNT.pack(len(buffers)) + pickled)
    for buffer in buffers:
        connection.send_bytes(buffer.raw())


def receive(connection: Connection) -> Any:
    """Raises EOFError or OSError when the other side is gone. Only for a side that is our own process: see pickle."""
    head = connection.recv_bytes()
    (count,) = _COUNT.unpack_from(head)
    buffers = [connection.recv_bytes() for _ in range(count)]
    return pickle.loads(memoryview(head)[_COUNT.size :], buffers=buffers)  # noqa: S301 - from our own process
