"""The page's files, read once and kept in memory: what is not in this table does not exist."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}


class Asset(msgspec.Struct, frozen=True):
    """One file, as it is and compressed."""

    content_type: str
    plain: bytes
    packed: bytes
    etag: str


def load(folder: Path = FOLDER) -> dict[str, Asset]:
    """Every file below `folder` by its path."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in TYPES)
    return {path.relative_to(folder).as_posix(): _asset(path) for path in files}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:20]
    return Asset(f"{TYPES[path.suffix]}; charset=utf-8", content, gzip.compress(content, 9, mtime=0), f'"{digest}"')
