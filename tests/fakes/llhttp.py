"""llhttp's strict cases (tests/gateway/llhttp, made by scripts/llhttp_cases.py): bytes, and what a parser reports."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "gateway" / "llhttp"
# Reported after a message that is whole and valid: about what follows it, or about what it asks for.
AFTERWARDS = ("Pause on CONNECT/Upgrade", "Data after `Connection: close`")


@dataclass(frozen=True, slots=True)
class Message:
    """What a parser reports of one message. Text is bytes in Latin-1."""

    at: int  # offset of its first byte
    head: bool  # its head is complete
    whole: bool
    headers: list[list[str]]
    trailers: list[list[str]]
    method: str = ""
    url: str = ""
    version: str = ""
    status: str = ""
    code: int = 0
    body: str = ""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    input: str
    messages: list[Message] = field(default_factory=list)
    error: str | None = None

    @property
    def valid(self) -> bool:
        """Whether its first message, as far as it goes, is one."""
        return self.error is None or self.error in AFTERWARDS

    @property
    def goes_on(self) -> bool:
        """Whether something follows a message that said it was the last."""
        return self.error == AFTERWARDS[1]

    @property
    def last_byte(self) -> int:
        """Where that begins; else the end."""
        return self.input.index("\r\n\r\n") + 4 + len(self.messages[0].body) if self.goes_on else len(self.input)

    @property
    def raw(self) -> bytes:
        return self.input.encode("latin-1")


def cases(kind: str) -> list[Case]:
    """All of them: `kind` is request or response."""
    documents: list[dict[str, Any]] = json.loads((FOLDER / f"{kind}.json").read_text())
    return [
        Case(each["name"], each["input"], [Message(**message) for message in each["messages"]], each["error"])
        for each in documents
    ]
