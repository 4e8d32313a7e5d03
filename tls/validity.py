"""Until when a certificate is valid, read from its DER (pure): the standard library tells it of CA certificates only.

Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm, issuer, validity SEQUENCE { from, until } …
(RFC 5280 section 4.1); UTCTime counts years from 1950 (section 4.1.2.5.1).
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime

_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def valid_until(pem: str) -> float:
    """When the first certificate of `pem` ends, in seconds since the epoch. Raises ValueError if there is none."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("it holds no certificate")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(found[0]))
    except IndexError:
        raise ValueError("its certificate is cut off") from None


def _not_after(der: bytes) -> float:
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)
    kind, _, after = _element(der, at)
    if kind == _VERSION:
        at = after
    for _ in ("serial", "algorithm", "issuer"):
        _, _, at = _element(der, at)
    _, validity, _ = _element(der, at)
    _, _, until = _element(der, validity)
    kind, start, end = _element(der, until)
    digits = der[start:end].decode("ascii").rstrip("Z")
    if kind == _UTC_TIME:
        digits = f"{'19' if digits >= '5' else '20'}{digits}"
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element at `at`, where its content begins and where it ends."""
    kind, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    return kind, start, start + length
