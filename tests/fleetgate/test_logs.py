"""One record is one line, whatever a client put into it."""

from __future__ import annotations

import json
import logging

import pytest

from fleetgate.logs import JsonFormatter, TextFormatter

HOSTILE = "a\r\nb\x1b[31mc\x85d\u2028e\u2029f\x7f\x00"


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.api", logging.INFO, "", 0, message, (), None)
    made.fields = fields
    return made


@pytest.mark.parametrize("formatter", [JsonFormatter("gateway"), TextFormatter()])
def test_hostile_text_cannot_start_a_new_line_or_colour_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record("answered " + HOSTILE, path=HOSTILE, more=[HOSTILE]))
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x1b\x00\x7f\x85\u2028\u2029\r\n")


def test_json_holds_the_fields_as_they_are() -> None:
    entry = json.loads(JsonFormatter("node").format(record("answered", status=200, ms=1.5, who="é")))
    assert entry["event"] == "answered"
    assert (entry["program"], entry["level"], entry["status"], entry["ms"], entry["who"]) == (
        "node",
        "info",
        200,
        1.5,
        "é",
    )


def test_extras_of_the_standard_kind_are_members_too() -> None:
    made = logging.makeLogRecord({"msg": "leaving", "in_progress": 3, "fields": {"node": "a"}})
    entry = json.loads(JsonFormatter("node").format(made))
    assert set(entry) == {"ts", "level", "program", "logger", "event", "in_progress", "node"}
    assert TextFormatter().format(made).endswith("leaving in_progress=3 node=a")


def test_an_exception_is_inside_the_record() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        made = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (ValueError, error, error.__traceback__))
    line = JsonFormatter("node").format(made)
    assert len(line.splitlines()) == 1
    assert "boom" in json.loads(line)["exception"]
