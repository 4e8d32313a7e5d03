"""What a node is told beside the client's own fields: which way the request came, whose it is, its trace (pure).

Rules: RFC 9110 section 7.6.3 (Via), W3C Trace Context.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from gateway.head import Head
from gateway.node_head import field_lines
from wire import ids
from wire.errors import BadRequest
from wire.headers import REQUEST_ID, TIMEOUT_MS, TRACEPARENT, TRACESTATE

_LONGEST_CHAIN = 1024
_REQUEST_ID = REQUEST_ID.lower()
TIMEOUT = TIMEOUT_MS.lower()


class Trust:
    """Which peers are our own proxies, whose word about the client is believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self.believes = lru_cache(maxsize=4096)(self._believes)

    def _believes(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)

    def client(self, peer: str, chain: str) -> str:
        """The nearest address that is not one of our proxies; `chain` is X-Forwarded-For as `peer` sent it."""
        if not self._networks or not self.believes(peer):
            return peer
        for hop in reversed(chain.split(",")):
            address = hop.strip()
            if not _is_address(address):
                break
            peer = address
            if not self.believes(address):
                break
        return peer


class Forwarding:
    """Writes down the way of requests under one pseudonym and one trust."""

    def __init__(self, pseudonym: str, trust: Trust, scheme: str = "http") -> None:
        """`scheme` is what clients speak to us."""
        self._via = f"1.1 {pseudonym}"
        self._pseudonym = pseudonym.lower()
        self._trust = trust
        self._scheme = scheme

    def client(self, peer: str, head: Head) -> str:
        """Whose request this is."""
        chain = head.said.get("x-forwarded-for")
        return peer if chain is None else self._trust.client(peer, chain)

    def fields(self, head: Head, peer: str) -> list[tuple[str, str]]:
        """All fields for the node that are the same in every request with this head. Raises BadRequest for a loop."""
        said = head.said
        via, host, chain = said.get("via"), said.get("host", ""), said.get("x-forwarded-for")
        scheme = said.get("x-forwarded-proto")
        if (chain is not None or scheme is not None) and self._trust.believes(peer):
            host = said.get("x-forwarded-host", host)
            peer = peer if chain is None else f"{chain[-_LONGEST_CHAIN:]}, {peer}"
        else:
            scheme = None
        return [
            *head.passing,
            ("Via", self._via if via is None else self._longer_way(via)),
            ("X-Forwarded-For", peer),
            ("X-Forwarded-Proto", scheme or self._scheme),
            ("X-Forwarded-Host", host),
        ]

    def _longer_way(self, via: str) -> str:
        for hop in via.split(","):
            if self._pseudonym in hop.lower().split()[1:2]:
                raise BadRequest("the request has passed this gateway before: a loop")
        return f"{via}, {self._via}"


class Names:
    """What a request and its trace are called, and how a node is told."""

    __slots__ = ("lines", "parent_span_id", "request_id", "trace")

    def __init__(
        self, said: Mapping[str, str], digits: ids.Digits, sampled: Callable[[str], bool] | None = None
    ) -> None:
        """Our span is below the client's. Without an id or a trace from the client one id names both.

        `sampled` chooses by their ids which of the traces that begin here are written.
        """
        offered, state = said.get(_REQUEST_ID), said.get(TRACESTATE)
        parent = ids.parse_traceparent(said.get(TRACEPARENT)) if TRACEPARENT in said else None
        self.parent_span_id = "" if parent is None else parent.span_id
        self.trace = trace = ids.child(parent, sampled, digits.take)
        self.request_id = trace.trace_id if offered is None and parent is None else ids.request_id(offered)
        self.lines = f"{REQUEST_ID}: {self.request_id}\r\n{TRACEPARENT}: {trace.traceparent}\r\n"
        if state is not None and parent is not None:
            self.lines += field_lines([(TRACESTATE, state)])


def deadline_seconds(text: str) -> float:
    """How long the client will wait, of its own word. Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise BadRequest(f"{TIMEOUT_MS} must be whole milliseconds above 0")
    return int(text) / 1000


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
