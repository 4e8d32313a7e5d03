"""Compiled modules, where somebody compiled them, are those that run: else `make test-compiled` would prove nothing."""

import importlib
import sys
from pathlib import Path

from scripts.compile_gateway import MODULES

COMPILED = Path(__file__).resolve().parents[2] / "var" / "compiled"


def test_modules_come_from_where_this_run_was_told_to_look():
    told = str(COMPILED) in sys.path
    for module in MODULES:
        file = importlib.import_module(module.removesuffix(".py").replace("/", ".")).__file__ or ""
        assert file.endswith(".so") == told, file
