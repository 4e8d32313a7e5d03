"""Forms (RFC 7578), as `curl -F` and browsers send them: the first part that is a file or begins as an image does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wire.errors import BadRequest
from wire.image_header import starts_image
from wire.sniff.multipart import boundary_of

_FILE = re.compile(
    rb"^content-disposition:[^\r\n]*;\s*filename\*?\s*=|^content-type:\s*image/", re.IGNORECASE | re.MULTILINE
)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*;\s*name\s*=\s*"?([^";\r\n]{1,64})', re.IGNORECASE | re.MULTILINE)
_LONGEST_HEAD = 8192
_LONGEST_FIELD = 256
_MOST_PARTS = 64
_SNIFFED_BYTES = 16


def image_and_fields(body: bytes, content_type: str) -> tuple[bytes, dict[str, str]]:
    """The image's bytes, and the form's short text fields by name. Raises BadRequest."""
    image: bytes | None = None
    fields: dict[str, str] = {}
    for head, start, end in _parts(body, content_type):
        if image is None and (_FILE.search(head) or starts_image(body[start : min(end, start + _SNIFFED_BYTES)])):
            image = body[start:end]
        elif (name := _NAME.search(head)) and end - start <= _LONGEST_FIELD:
            fields[name[1].decode("latin-1")] = body[start:end].decode("utf-8", "replace")
    if image is None:
        raise BadRequest("the form holds no file")
    return image, fields


def _parts(body: bytes, content_type: str) -> Iterator[tuple[bytes, int, int]]:
    """Head, start and end of each part."""
    boundary = boundary_of(content_type)
    if not boundary:
        raise BadRequest("multipart/form-data without a boundary")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    at = len(delimiter) - 2 if body.startswith(delimiter[2:]) else _after(body, delimiter, 0)
    for _ in range(_MOST_PARTS):
        if body.startswith(b"--", at):
            return
        head_end = body.find(b"\r\n\r\n", at, at + _LONGEST_HEAD)
        if head_end < 0:
            raise BadRequest("a part of the form has no end to its head")
        end = _after(body, delimiter, head_end + 2)
        yield body[at + 2 : head_end], head_end + 4, end - len(delimiter)
        at = end
    raise BadRequest(f"a form has at most {_MOST_PARTS} parts")


def _after(body: bytes, delimiter: bytes, at: int) -> int:
    found = body.find(delimiter, at)
    if found < 0:
        raise BadRequest("the form ends before its last boundary")
    return found + len(delimiter)
