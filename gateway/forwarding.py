"""What a node is told of a request: its fields cleaned, its way written down, its client named (pure).

Rules: RFC 9110 section 7.6 (hop-by-hop fields, Via), docs/wire.md (what a client must not be able to say).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from wire import ids
from wire.errors import BadRequest
from wire.headers import HOP_BY_HOP, INTERNAL, INTERNAL_PREFIX, REQUEST_ID, TIMEOUT_MS, TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    Headers = CIMultiDictProxy[str]

_PASS, _DROP, _REFUSE = range(3)
# Written anew for the node, by us or by the node client.
_REBUILT = frozenset(
    {
        "content-length",
        "expect",
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        REQUEST_ID.lower(),
        TIMEOUT_MS.lower(),
        TRACEPARENT,
        TRACESTATE,
    }
)
# Clients choose header names; what we remember of them is bounded.
_NAMES_REMEMBERED = 1024
_LONGEST_CHAIN = 1024


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
    """Rewrites heads under one pseudonym and one trust. Remembers the header names that clients use."""

    def __init__(self, pseudonym: str, trust: Trust) -> None:
        self._via = f"1.1 {pseudonym}"
        self._pseudonym = pseudonym.lower()
        self._trust = trust
        self._verdicts: dict[str, int] = {}

    def client(self, peer: str, headers: Headers) -> str:
        """Whose request this is."""
        return (
            self._trust.client(peer, ",".join(headers.getall("X-Forwarded-For"))) if self._told(peer, headers) else peer
        )

    def fields(
        self, headers: Headers, peer: str, scheme: str, request_id: str, trace: ids.Trace
    ) -> list[tuple[str, str]]:
        """The fields for the node. Raises BadRequest for names that two programs read differently, and for loops."""
        fields = []
        verdicts = self._verdicts
        for field in headers.items():
            verdict = verdicts.get(field[0])
            if verdict is None:
                verdict = self._judge(field[0])
            if verdict == _PASS:
                fields.append(field)
            elif verdict == _REFUSE:
                raise BadRequest("a header's name holds an underscore, which some read as a dash")
        connection = headers.get("Connection")
        if connection is not None:
            fields = _without_named(fields, connection)
        via = headers.get("Via")
        told = self._told(peer, headers)
        fields += [
            ("Via", self._via if via is None else self._append_via(headers)),
            ("X-Forwarded-For", self._chain(peer, headers)),
            ("X-Forwarded-Proto", scheme if not told else headers.get("X-Forwarded-Proto", scheme)),
            ("X-Forwarded-Host", headers.get("X-Forwarded-Host" if told else "Host", "")),
            (REQUEST_ID, request_id),
            (TRACEPARENT, trace.traceparent),
        ]
        return fields

    def _judge(self, name: str) -> int:
        lower = name.lower()
        if "_" in lower:
            verdict = _REFUSE
        elif lower in _REBUILT or lower in HOP_BY_HOP or lower in INTERNAL or lower.startswith(INTERNAL_PREFIX):
            verdict = _DROP
        else:
            verdict = _PASS
        if len(self._verdicts) < _NAMES_REMEMBERED:
            self._verdicts[name] = verdict
        return verdict

    def _told(self, peer: str, headers: Headers) -> bool:
        return headers.get("X-Forwarded-For") is not None and self._trust.believes(peer)

    def _chain(self, peer: str, headers: Headers) -> str:
        if not self._told(peer, headers):
            return peer
        chain = ", ".join(headers.getall("X-Forwarded-For"))
        return f"{chain[-_LONGEST_CHAIN:]}, {peer}"

    def _append_via(self, headers: Headers) -> str:
        via = ", ".join(headers.getall("Via"))
        for hop in via.split(","):
            if self._pseudonym in hop.lower().split()[1:2]:
                raise BadRequest("the request has passed this gateway before: a loop")
        return f"{via}, {self._via}"


def deadline_seconds(headers: Headers) -> float | None:
    """How long the client will wait, of its own word; None when it says nothing. Raises BadRequest."""
    text = headers.get(TIMEOUT_MS)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise BadRequest(f"{TIMEOUT_MS} must be whole milliseconds above 0")
    return int(text) / 1000


def trace_of(headers: Headers) -> tuple[ids.Trace, list[tuple[str, str]]]:
    """Our span below the client's, and its tracestate, which is worth nothing without a valid parent."""
    parent = ids.parse_traceparent(headers.get(TRACEPARENT))
    trace = ids.child(parent)
    if parent is None or headers.get(TRACESTATE) is None:
        return trace, []
    return trace, [(TRACESTATE, state) for state in headers.getall(TRACESTATE)]


def _without_named(fields: list[tuple[str, str]], connection: str) -> list[tuple[str, str]]:
    named = {token.strip() for token in connection.lower().split(",")} - {"close", "keep-alive", ""}
    return [field for field in fields if field[0].lower() not in named] if named else fields


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
