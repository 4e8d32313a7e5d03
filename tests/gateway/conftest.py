"""A whole gateway runs on uvloop in production, so it does in the tests that run one.

A module that must hold on more than one kind of loop names them in `LOOPS`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module: Any = item.getparent(pytest.Module)
    loops = getattr(module.obj, "LOOPS", ["uvloop" if hasattr(module.obj, "running") else "asyncio"])
    return {name: {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}[name] for name in loops}
