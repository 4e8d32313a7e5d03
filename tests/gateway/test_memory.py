"""How the process keeps its memory."""

from __future__ import annotations

import gc
import platform

from gateway import memory


def test_what_was_built_is_not_collected_again() -> None:
    before = gc.get_freeze_count()
    try:
        memory.settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_freed_memory_is_kept_where_malloc_is_that_of_glibc() -> None:
    assert memory.keep_freed() == (platform.libc_ver()[0] == "glibc")
