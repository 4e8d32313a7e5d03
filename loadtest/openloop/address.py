"""A target's URL: where to connect, what its requests' heads say."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

DEFAULT_PORTS = {"http": 80, "https": 443}


class BadTarget(Exception):
    """The target cannot be what was written; one line."""


class Address(msgspec.Struct, frozen=True):
    """Where a gateway (or any server that speaks one of the protocols) listens."""

    scheme: str
    host: str
    port: int
    path: str = ""  # replaces that of plain calls

    @property
    def authority(self) -> str:
        """Host and port as the Host field says them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse(url: str) -> Address:
    """Of `http://host:port`, or `host:port`. Raises BadTarget."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise BadTarget(f"{url!r}: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise BadTarget(f"{url!r}: the scheme must be http or https")
    if not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise BadTarget(f"{url!r} names no host; write it as http://host:port")
    if parts.username or parts.password:
        raise BadTarget("no name and password in the URL: give the key with --key or FLEETGATE_KEY")
    path = parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], path)


def tls(address: Address, ca: Path | None) -> ssl.SSLContext | None:
    """What https needs; None for http. Raises BadTarget when the CA's file cannot be read."""
    if address.scheme != "https":
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise BadTarget(f"{ca}: {error.strerror or error}") from None
