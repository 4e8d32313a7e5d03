"""Requests that are odd but valid, as bytes: for whoever must read them as everybody does."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.gateway import jpeg

ASK, SEND, IMAGE = "/v2/models/toy", "/v2/models/toy/infer", "/v1/predict"
BODY = b'{"inputs": []}'


@dataclass(frozen=True, slots=True)
class Odd:
    """`segments` are sent one after the other; `methods` are those of the answers that a strict reader would give."""

    segments: tuple[bytes, ...]
    methods: tuple[str, ...] = ("POST",)
    waits: bool = False  # for 100 Continue after the first segment


def odd(*lines: str, body: bytes = b"", target: str = SEND, method: str = "POST", version: str = "1.1") -> Odd:
    host = () if any(line.lower().startswith("host") for line in lines) or version == "1.0" else ("Host: fleet",)
    return Odd((head(method, target, version, *host, *lines) + body,), (method,))


def head(method: str, target: str, version: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


def sent(*lines: str, **more: str) -> Odd:
    return odd(*lines, f"Content-Length: {len(BODY)}", body=BODY, **more)


def asked(*lines: str, target: str = ASK, **more: str) -> Odd:
    return odd(*lines, target=target, **{"method": "GET", **more})


def chunked(chunks: bytes, *lines: str) -> Odd:
    return odd(*(lines or ("Transfer-Encoding: chunked",)), body=chunks)


ONE_CHUNK = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
GET = head("GET", ASK, "1.1", "Host: fleet")
POST = head("POST", SEND, "1.1", "Host: fleet", "Content-Length: 14") + BODY
CASES = {
    "a length": sent(),
    "a length with zeros before it": odd("Content-Length: 00014", body=BODY),
    "a length in blanks": odd("Content-Length: \t 14 \t", body=BODY),
    "one chunk": chunked(ONE_CHUNK),
    "a chunk per byte": chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"),
    "sizes in capitals and with zeros": chunked(b"000E\r\n" + BODY + b"\r\n00000\r\n\r\n"),
    "chunk extensions": chunked(b'e;a=b;c="d e"\r\n' + BODY + b"\r\n0;last\r\n\r\n"),
    "trailers": chunked(b"e\r\n" + BODY + b"\r\n0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n"),
    "announced trailers": chunked(
        b"e\r\n" + BODY + b"\r\n0\r\nX-Checksum: 1\r\n\r\n", "Trailer: X-Checksum", "Transfer-Encoding: chunked"
    ),
    "chunked in capitals": chunked(ONE_CHUNK, "Transfer-Encoding: CHUNKED"),
    "chunked in mixed case": chunked(ONE_CHUNK, "tRANSFER-eNCODING: Chunked"),
    "chunked in blanks": chunked(ONE_CHUNK, "Transfer-Encoding:    chunked   "),
    "chunked in tabs": chunked(ONE_CHUNK, "Transfer-Encoding:\tchunked\t"),
    "chunked without a blank": chunked(ONE_CHUNK, "Transfer-Encoding:chunked"),
    "chunked in many segments": Odd(
        (
            head("POST", SEND, "1.1", "Host: fleet", "Transfer-Encoding: chunked"),
            *(b"e", b"\r", b"\n" + BODY[:3], BODY[3:] + b"\r", b"\n0\r\n", b"\r\n"),
        )
    ),
    "a large body": odd("Content-Length: 300000", body=bytes(300_000)),
    "a body that looks like a request": odd(f"Content-Length: {len(POST)}", body=POST),
    "an image by PUT": odd("Content-Length: 300", body=jpeg(size=300), target=IMAGE, method="PUT"),
    "expecting, and waiting": Odd(
        (head("POST", SEND, "1.1", "Host: fleet", "Content-Length: 14", "Expect: 100-continue"), BODY), waits=True
    ),
    "expecting in capitals": sent("Expect: 100-CONTINUE"),
    "expecting, and not waiting": sent("Expect: 100-continue"),
    "names in odd case": sent("cOnTeNt-TyPe: application/json", "x-a: 1", "X-B: 2"),
    "values without and with blanks": sent("X-A:1", "X-B: \t 2 \t ", "X-C: 3  3\t3"),
    "an empty value": sent("X-Empty:", "X-Blank:   "),
    "fields twice": sent("X-A: 1", "X-B: 2", "X-A: 3", "x-a: 1"),
    "cookies twice": sent("Cookie: a=1", "Cookie: b=2"),
    "lists": sent("Accept: a/b;q=0.5, */*", "Accept: c/d", 'If-Match: "a,b", W/"c"'),
    "signs of all kinds": sent("X!#$%&'*+-.^`|~9: \"(),/:;<=>?@[\\]{}"),
    "bytes that are no ASCII": sent("X-A: \xff\xfe", "X-B: caf\xc3\xa9"),
    "a long value": sent(f"X-A: {'x' * 8000}"),
    "many fields": sent(*[f"X-{number}: {number}" for number in range(80)]),
    "a credential": sent("Authorization: Bearer abc"),
    "host in small letters": sent("host: fleet"),
    "a host in capitals": sent("Host: FLEET"),
    "a host with a port": sent("Host: fleet:8080"),
    "an IPv6 host": sent("Host: [::1]:8080"),
    "host last": sent("X-A: 1", "Host: fleet"),
    "an absolute target": sent(target=f"http://fleet{SEND}?x=1"),
    "an absolute target in capitals": sent(target=f"HTTP://FLEET{SEND}"),
    "escapes in the path": asked(target="/v2/models/%74%6Fy"),
    "escapes in the query": asked(target=f"{ASK}?a=%2F%00%c3%A9"),
    "signs in the query": asked(target=f"{ASK}?a=b&&c==d&/;:@!$'()*+,?~._-[]|"),
    "an empty query": asked(target=f"{ASK}?"),
    "a long target": asked(target=f"{ASK}?{'q' * 7000}"),
    "HEAD": asked(method="HEAD"),
    "GET with an empty body": asked("Content-Length: 0"),
    "HTTP/1.0": sent(version="1.0"),
    "HTTP/1.0 with a host": sent("Host: fleet", version="1.0"),
    "HTTP/1.0 kept alive": sent("Host: fleet", "Connection: Keep-Alive", version="1.0"),
    "closing": sent("Connection: close"),
    "hop-by-hop fields": sent("Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"),
    "fields that Connection names": sent("Connection: X-Hop, close", "X-Hop: 1", "X-Kept: 1"),
    "TE": sent("TE: trailers", "Connection: TE"),
    "TE that nobody named": sent("TE: trailers"),
    "an upgrade that nobody makes": asked("Connection: Upgrade", "Upgrade: h2c"),
    "a line before the request": Odd((b"\r\n" + POST,)),
    "two requests in one segment": Odd((GET + POST,), ("GET", "POST")),
    "ten requests in one segment": Odd((POST * 10,), ("POST",) * 10),
    "requests cut anywhere": Odd((GET[:9], GET[9:] + POST[:30], POST[30:-3], POST[-3:] + GET), ("GET", "POST", "GET")),
    "a chunked request, then another": Odd(
        (head("POST", SEND, "1.1", "Host: fleet", "Transfer-Encoding: chunked") + ONE_CHUNK + GET,), ("POST", "GET")
    ),
    "what other proxies said": sent("Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Forwarded-For: 1.2.3.4"),
    "a way behind it": sent("Via: 1.1 other"),
    "a name for itself": sent("X-Request-Id: mine"),
}
