"""How log records are written: one JSON object a line for machines, short lines for a terminal.

Code logs an event with `logger.info("event", extra={"node": …})`; extras become members of the object, and so do the
members of one named `fields`, for names that a record has already.
Whatever a client sent is escaped, so that one record is always one line (no log injection).
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import msgspec

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encode = msgspec.json.Encoder().encode
# C0 controls, DEL, C1 controls, the two Unicode line separators: what a terminal or a log reader acts upon.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """ts, level, logger, event, then the record's fields."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry: dict[str, Any] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "program": self.program,
            "logger": record.name,
            "event": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encode(_clean(entry)).decode()


class TextFormatter(logging.Formatter):
    """time level event key=value …"""

    def format(self, record: logging.LogRecord) -> str:
        """One line for a person; a traceback follows on its own lines."""
        fields = "".join(f" {key}={_plain(value)}" for key, value in _extras(record).items())
        line = f"{_timestamp(record.created)[11:23]} {record.levelname:<7} {_plain(record.getMessage())}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(program: str, level: str, form: str) -> None:
    """Route every record to standard error. `form` is json, text or auto (text on a terminal)."""
    handler = logging.StreamHandler(sys.stderr)
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter(program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS.get(level, logging.INFO))


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    own = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    fields = own.pop("fields", {})
    return {**own, **fields}


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def _plain(value: object) -> str:
    return str(value).translate(_CONTROLS)


def _clean(value: Any) -> Any:
    """JSON escapes C0 controls by itself; C1 and the line separators it would pass through."""
    if isinstance(value, str):
        return value if value.isascii() else value.translate({k: v for k, v in _CONTROLS.items() if k > 0x7E})
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, int | float | bool | None):
        return value
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return str(value)
