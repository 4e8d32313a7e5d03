"""How the process keeps its memory: freed pieces of bodies for the next bodies, what lives for ever out of sight."""

from __future__ import annotations

import ctypes
import gc

# Options of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Above the size of one read of a socket, below that of whole large bodies: bytes.
_OWN_MAPPING = 1 << 20
# Free memory kept for the next bodies: bytes.
_KEPT = 64 << 20
# New objects until the next look for garbage. With hundreds of requests under way the usual 700 are nearly all alive:
# looking through them is in vain, and was a tenth of the time.
_YOUNG = 20_000


def keep_freed() -> bool:
    """Let malloc keep what is freed, where there is glibc; whether that was done.

    By default every piece of a body is given back to the system and mapped anew for the next: page by page, which
    costs more than everything else that is done for a body of 1 MB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


def settle() -> None:
    """Take what exists now for permanent: a full collection of it would stop all requests for 25 ms each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
