"""A context that follows its files: a good new pair is used for whoever connects from now on, a bad one never.

Certificates are renewed by other programs, file by file and not always atomically. So by itself a change is taken only
once the files stood still between two looks, and never when they do not fit together.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tls.config import ClientTls, ServerTls
from tls.contexts import BadCertificate, connecting, listening
from tls.validity import valid_until

_log = logging.getLogger("tls")

Signature = tuple[tuple[int, int, int], ...]


class Credentials:
    """`current` is the context to use now. Raises BadCertificate if there is no good one to begin with."""

    def __init__(self, name: str, files: Sequence[str], build: Callable[[], ssl.SSLContext]) -> None:
        """`files` begin with the one whose certificate is ours, or "" when we show none."""
        self.name = name
        self._own, *_ = files
        self._files = [Path(file) for file in files if file]
        self._build = build
        self._taken = self._seen = self._signature()
        self.followers: list[Callable[[ssl.SSLContext], None]] = []  # called with every new context
        self.current = build()
        self.expires = self._expiry()  # seconds since the epoch; 0 without a certificate of our own

    def reload(self) -> bool:
        """Read the files now; whether they were good. If not, all stays as it was and a warning says why."""
        self._taken = self._seen = self._signature()
        try:
            context, expires = self._build(), self._expiry()
        except BadCertificate as error:
            _log.warning("the old certificate is kept", extra={"fields": {"use": self.name, "why": str(error)}})
            return False
        self.current, self.expires = context, expires
        for follow in self.followers:
            follow(context)
        until = time.strftime("%Y-%m-%d", time.gmtime(expires)) if expires else "none of our own"
        _log.info("certificate read again", extra={"fields": {"use": self.name, "valid_until": until}})
        return True

    def look(self) -> bool:
        """Reload if the files have changed since they were read and stood still since the last look; whether we did."""
        before, self._seen = self._seen, self._signature()
        if self._seen == self._taken or self._seen != before:
            return False
        return self.reload()

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.look()

    def _signature(self) -> Signature:
        return tuple(map(_stamp, self._files))

    def _expiry(self) -> float:
        if not self._own:
            return 0.0
        try:
            return valid_until(Path(self._own).read_text("ascii"))
        except (OSError, ValueError) as error:
            raise BadCertificate(f"{self._own}: {error}") from None


def server_credentials(name: str, options: ServerTls) -> Credentials:
    """For a listener. Raises BadCertificate."""
    files = (options.cert_file, options.key_file, options.client_ca_file)
    return Credentials(name, files, lambda: listening(options))


def client_credentials(name: str, options: ClientTls) -> Credentials:
    """For connections to nodes. Raises BadCertificate."""
    files = (options.cert_file, options.key_file, options.ca_file)
    return Credentials(name, files, lambda: connecting(options))


def following(credentials: Credentials) -> ssl.SSLContext:
    """One context for the life of a listener: every handshake is done with what is current when it comes."""
    first = credentials.current

    def choose(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = credentials.current

    # OpenSSL asks in every handshake, whether or not the client names a server (RFC 6066 section 3).
    first.sni_callback = choose
    return first


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
