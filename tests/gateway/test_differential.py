"""The same odd but valid requests through fleetgate, a real Envoy and a real HAProxy: what did the backend see?

What they make of a request otherwise than we do is in `KNOWN`, each with its reason; all else is equal. Both run as
they come (loadtest/peers).
"""

from __future__ import annotations

import asyncio
import re

import pytest

from loadtest.peers import PEERS, Target, Wanted, start
from tests.fakes.gateway import running
from tests.fakes.odd_requests import CASES, Odd
from tests.fakes.raw_client import raw_client
from tests.fakes.recorder import Recorder, Seen, recorder

# Said anew by everybody for the next hop, or said of itself by whoever passes a request on.
OWN = {"connection", "content-length", "transfer-encoding", "via", "x-forwarded-proto", "x-forwarded-host"}
OWN |= {"x-request-id", "traceparent", "x-envoy-expected-rq-timeout-ms"}
HOST = "x-forwarded-host"  # what the client said; Host is the node's own address

NO_HTTP_1_0 = "Envoy takes HTTP/1.0 only when told to"
HOPS = "it is for one hop (RFC 9110 section 7.6.1), and HAProxy leaves that to its configuration"
TRAILERS = "no node reads them; a trailer must not become a field unasked (RFC 9110 section 6.5.1)"
PEOPLE = "who the client is, our own hop says; others' words are believed of trusted proxies only"
TE = "it is for one hop; we take no trailers from a node"
ABSOLUTE = "a node is an origin server and gets the path (RFC 9112 section 3.2.1); HAProxy passes the target as it came"
KNOWN: dict[str, dict[str, tuple[set[str], str]]] = {
    "envoy": {
        "HTTP/1.0": ({"answers", "requests"}, NO_HTTP_1_0),
        "HTTP/1.0 with a host": ({"answers", "requests"}, NO_HTTP_1_0),
        "HTTP/1.0 kept alive": ({"answers", "requests"}, NO_HTTP_1_0),
        "announced trailers": ({"trailer"}, TRAILERS),
        "TE": ({"te"}, TE),
        "TE that nobody named": ({"te"}, TE),
        "what other proxies said": ({"forwarded", "x-real-ip", "x-forwarded-for"}, PEOPLE),
    },
    "haproxy": {
        "trailers": ({"trailers"}, TRAILERS),
        "announced trailers": ({"trailer", "trailers"}, TRAILERS),
        "expecting, and waiting": ({"expect"}, "we answer it ourselves, so that a refusal comes before the body"),
        "expecting, and not waiting": ({"expect"}, "as above"),
        "expecting in capitals": ({"expect"}, "as above"),
        "an absolute target": ({"target"}, ABSOLUTE),
        "an absolute target in capitals": ({"target"}, ABSOLUTE),
        "HTTP/1.0": ({HOST}, "none was named: we say so, HAProxy says nothing"),
        "hop-by-hop fields": ({"keep-alive", "proxy-connection"}, HOPS),
        "fields that Connection names": ({"x-hop"}, HOPS),
        "TE": ({"te"}, TE),
        "TE that nobody named": ({"te"}, TE),
        "what other proxies said": ({"forwarded", "x-real-ip", "x-forwarded-for"}, PEOPLE),
    },
}
BOTH = {
    "chunked in tabs": ({"answers", "requests"}, "llhttp knows no tab around a transfer coding; nobody sends one"),
}


async def tell(address: str, case: Odd, backend: Recorder) -> tuple[list[int], list[Seen]]:
    """What the client was answered, and what the backend saw."""
    backend.seen.clear()
    answers = []
    async with raw_client(address) as client:
        for number, segment in enumerate(case.segments):
            await client.send(segment)
            if not number and case.waits:
                answers.append((await client.reply(interim=True)).status)
            await asyncio.sleep(0.002)  # so that segments stay apart; Envoy and HAProxy ring no bell
        for method in case.methods:
            answers.append((await client.reply(method)).status)
    return answers, list(backend.seen)


def fields(seen: Seen) -> dict[str, str]:
    """Values by name; a list is one whether it came in one field or in several."""
    named: dict[str, list[str]] = {}
    for name, value in seen.fields:
        named.setdefault(name, []).append(value)
    return {name: re.sub(r"[ \t]*,[ \t]*", ",", ",".join(values)) for name, values in named.items()}


def differences(ours: Seen, theirs: Seen) -> set[str]:
    """In which respects one request is not the same; Host is compared as the client said it."""
    found = {part for part in ("method", "target", "body", "trailers") if getattr(ours, part) != getattr(theirs, part)}
    mine, other = fields(ours), fields(theirs)
    if mine.get(HOST, "").lower() != other.get("host", "").lower() or "host" not in other:
        found.add(HOST)
    # The client's address is the gateway's to tell; what came with the request is compared.
    names = (mine.keys() | other.keys()) - OWN - {"host"} - ({"x-forwarded-for"} - other.keys())
    return found | {name for name in names if mine.get(name) != other.get(name)}


@pytest.mark.parametrize("name", ["envoy least_request", "haproxy leastconn"])
async def test_a_backend_sees_of_odd_requests_what_it_would_see_behind(name):
    program, policy = PEERS[name]
    known = BOTH | KNOWN[program]
    async with recorder() as backend, running(backend) as gateway:
        with start(program, Wanted([Target("127.0.0.1", backend.port)], policy)) as peer:
            for title, case in CASES.items():
                answers, seen = await tell(gateway.address, case, backend)
                their_answers, their_seen = await tell(peer.address, case, backend)
                found = set() if answers == their_answers else {"answers"}
                found |= set() if len(seen) == len(their_seen) else {"requests"}
                found |= {each for pair in zip(seen, their_seen, strict=False) for each in differences(*pair)}
                assert found == known.get(title, (set(), ""))[0], f"{title}: {seen} {their_seen}"


async def test_odd_requests_are_valid_for_us():
    async with recorder() as backend, running(backend) as gateway:
        for title, case in CASES.items():
            answers, seen = await tell(gateway.address, case, backend)
            if title not in BOTH:
                assert [status for status in answers if status != 100] == [200] * len(seen), title
        await gateway.settled()


def test_no_difference_is_explained_that_nobody_could_see():
    assert all(known.keys() <= CASES.keys() for known in (BOTH, *KNOWN.values()))
