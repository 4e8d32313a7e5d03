"""Bytes made wrong in small ways, and cut anywhere: strategies for fuzzing whoever reads HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\xff", b"\x0b", b'"', b"%", b"_", b"\r\n\r\n"),
    *(b"0\r\n\r\n", b"1\r\na\r\n", b"0", b"-1", b"+1", b"0x1", b"fffffffffffffffff", b"99999999999999999999"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5, 5\r\n", b"Content_Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: Content-Length\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    *(b"Host: other\r\n", b"Expect: 100-continue\r\n", b"X-Request-Timeout-Ms: 1\r\n", b"X-Fleetgate-Pool: heavy\r\n"),
    *(b"X: " + b"a" * 9000 + b"\r\n", b"X: y\r\n" * 120, b"a" * 9000, b" HTTP/1.0\r\n", b" HTTP/1.1\r\n", b"HTTP/2.0"),
    *(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
]
_places = st.integers(0, 5000)
_changes = st.one_of(
    st.tuples(st.just("put"), _places, st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("set"), _places, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("cut"), _places, st.integers(1, 40)),
    st.tuples(st.just("twice"), _places, st.integers(1, 200)),
)


def _changed(raw: bytes, changes: list[tuple[str, int, bytes | int]]) -> bytes:
    for kind, place, what in changes:
        at = place % (len(raw) + 1)
        if isinstance(what, bytes):
            raw = raw[:at] + what + raw[at + (len(what) if kind == "set" else 0) :]
        else:
            raw = raw[:at] + (raw[at : at + what] * 2 if kind == "twice" else b"") + raw[at + what :]
    return raw


def _pieces(raw: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return tuple(raw[start:end] for start, end in pairwise(places))


def mutated(originals: Sequence[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """One of the originals, changed in up to four places, in up to six pieces. Shrinks towards the first as it is."""
    changed = st.builds(_changed, st.sampled_from(originals), st.lists(_changes, max_size=4))
    return st.builds(_pieces, changed, st.lists(_places, max_size=5))
