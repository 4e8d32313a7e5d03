"""Speaks to a gateway's operator listener: the terminal's side of the page."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8081"
URL_VARIABLE = "FLEETGATE_OPERATOR_URL"
TOKEN_VARIABLE = "FLEETGATE_OPERATOR__TOKEN"  # noqa: S105 # the variable's name; the gateway reads the same
TIMEOUT_SECONDS = 10.0


class OperatorError(Exception):
    """Why the gateway did not do or say it, in one line."""


def add_url(parser: argparse.ArgumentParser) -> None:
    """The flags that every command of an operator has."""
    default = os.environ.get(URL_VARIABLE, DEFAULT_URL)
    parser.add_argument(
        "--url", default=default, help=f"the gateway's operator listener ({URL_VARIABLE}; {DEFAULT_URL})"
    )
    parser.add_argument("--json", action="store_true", help="the gateway's own words, for programs")


def get(url: str, path: str, **query: str) -> dict[str, Any]:
    """A document. Raises OperatorError."""
    return _ask(_join(url, path) + (f"?{urllib.parse.urlencode(query)}" if query else ""))


def post(url: str, path: str, order: dict[str, Any], token: str) -> dict[str, Any]:
    """An action. Raises OperatorError."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "X-Fleetgate-Action": "1"}
    body = json.dumps(order).encode()
    return _ask(_join(url, path), data=body, headers=headers, method="POST")


def _join(url: str, path: str) -> str:
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    return url.rstrip("/") + path


def _ask(url: str, **options: Any) -> dict[str, Any]:
    try:
        request = urllib.request.Request(url, **options)  # noqa: S310 # http and https only: _join sees to it
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise OperatorError(_problem(error)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise OperatorError(f"no gateway answers at {url}: {reason}") from None
    if not isinstance(document, dict):
        raise OperatorError(f"{url} is no gateway's operator listener")
    return document


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        return plain(str(json.load(error)["error"]))
    except (ValueError, KeyError, TypeError):
        return f"{error.url} answered {error.code}"


def plain(text: str) -> str:
    """Without what a terminal would act upon: names come from a registry, details from clients."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
