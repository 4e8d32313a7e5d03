"""What the protocols are given and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from node.work import Arrays, Row

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Incoming:
    """An inference call whose body is there, with any compression undone."""

    body: bytes
    content_type: str
    query: str  # as sent
    header_length: int | None = None  # Inference-Header-Content-Length


@dataclass(slots=True)
class Answer:
    """What goes back: the body's parts one after the other."""

    parts: Sequence[bytes | memoryview]
    content_type: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """In one piece."""
        return bytes(self.parts[0]) if len(self.parts) == 1 else b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call understood: rows to compute, and how their joined outputs become the answer."""

    rows: Sequence[Row]
    answer: Callable[[Arrays], Answer]
    timeout_ms: float = 0.0  # 0: the call named none


def json_answer(document: object) -> Answer:
    """A document as JSON."""
    return Answer([msgspec.json.encode(document)])
