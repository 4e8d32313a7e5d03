"""Sockets to listen on, bound before anybody serves them: so they can be handed to several processes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class CannotListen(Exception):
    """Why an address cannot be listened on, in one line."""


def bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listening sockets for every address that `host` has; "" is all of this machine. Raises CannotListen."""
    bound: list[socket.socket] = []
    with told(host, port):
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                bound.append(_listening(socket.socket(family, kind, protocol), address, backlog))
        except BaseException:
            for sock in bound:
                sock.close()
            raise
    return bound


@contextmanager
def told(host: str, port: int) -> Iterator[None]:
    """Turns the system's complaints about an address into one line of ours."""
    try:
        yield
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be listened on: {error.strerror or error}"
        raise CannotListen(f"{host}:{port} {why}") from error
    except UnicodeError:  # of a host that IDNA cannot spell, before anybody is asked for it
        raise CannotListen(f"{host}:{port} cannot be listened on: this is no name of a host") from None


def address(name: tuple[object, ...]) -> str:
    """A socket's name as host:port, brackets around IPv6."""
    host, port = str(name[0]), name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listening(sock: socket.socket, where: Any, backlog: int) -> socket.socket:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        sock.bind(where)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
