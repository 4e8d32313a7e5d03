"""Work that must not slow down its neighbours: on a thread of its own that gets what processor time others leave."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_LOWEST = 19  # beside a busy thread of normal priority this one gets about 1/70 of a core


def gently(work: Callable[[], T]) -> T:
    """Have `work` done on a thread of the lowest priority and wait for it. Raises what it raises.

    A new thread each time: without privileges a priority cannot be raised again. Linux alone has priorities by
    thread; elsewhere it is done like any other work. `work` should hold the interpreter for moments only: while it
    waits for a core with the lock in its hand, so does everybody else.
    """
    result: Any = None
    error: BaseException | None = None

    def do() -> None:
        nonlocal result, error
        if sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        try:
            result = work()
        except BaseException as caught:  # carried to the caller, whatever it is
            error = caught

    thread = threading.Thread(target=do, name="gentle", daemon=True)
    thread.start()
    thread.join()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
