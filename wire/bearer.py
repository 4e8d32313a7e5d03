"""Who may change something: a token, as RFC 6750 carries it."""

from __future__ import annotations

import hmac

from wire.errors import Unauthorized


def check_bearer(authorization: str, token: str) -> None:
    """Raises Unauthorized unless the header's value carries `token`. Takes as long for a wrong one as for the right."""
    scheme, _, given = authorization.partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized("The operator token is missing or wrong", headers={"WWW-Authenticate": "Bearer"})
