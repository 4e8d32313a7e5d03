"""What every answer of the operators' listener carries, and who may ask: one middleware."""

from __future__ import annotations

import ipaddress
import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.config import Operator
from wire.bearer import check_bearer
from wire.errors import (
    CONTENT_TYPE,
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthorized,
    WireError,
)

log = logging.getLogger("fleetgate.operator")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A form or an image of another site cannot set this, and we allow no other origin to ask whether it may.
ACTION_HEADER = "X-Fleetgate-Action"


def middleware(config: Operator) -> Middleware:
    """Checks the Host, turns errors into answers, adds the headers."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check_host(request, config)
            response = await handler(request)
        except WireError as error:
            response = _answer(error)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = _answer(MethodNotAllowed(f"Use {allowed}", headers={"Allow": allowed}))
        except web.HTTPNotFound:
            response = _answer(NotFound("No such page"))
        except web.HTTPRequestEntityTooLarge:
            response = _answer(TooLarge("This order is too long"))
        except web.HTTPException as error:
            response = _answer(BadRequest(error.reason))
        except Exception:
            log.exception("operator page failed", extra={"fields": {"path": request.path}})
            response = _answer(WireError())
        if not response.prepared:
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guard


def _answer(error: WireError) -> web.Response:
    return web.Response(
        status=error.status, body=error.body(request_id=""), content_type=CONTENT_TYPE, headers=error.headers
    )


def _check_host(request: web.Request, config: Operator) -> None:
    """On loopback, only loopback's own names: a page of some site that rebinds its name to 127.0.0.1 gets nothing."""
    if not _is_loopback(config.host):
        return
    name = request.host.rsplit("@", 1)[-1]
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if not _is_loopback(name):
        raise Forbidden("This page is for this machine only; ask for it as 127.0.0.1 or localhost")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def check_action(request: web.Request, config: Operator) -> None:
    """Whether this call may change something. Raises Forbidden or Unauthorized."""
    if not config.token:
        raise Forbidden("Changes are turned off: no operator.token is set")
    if ACTION_HEADER not in request.headers or request.headers.get("Sec-Fetch-Site", "same-origin") not in {
        "same-origin",
        "none",
    }:
        raise Forbidden(f"Changes come from our own page or with the header {ACTION_HEADER}: 1")
    try:
        check_bearer(request.headers.get("Authorization", ""), config.token)
    except Unauthorized:
        log.warning("operator token refused", extra={"fields": {"client": request.remote, "path": request.path}})
        raise
