"""py-consul's asyncio client, made safe: explicit timeouts, bounded bodies, no redirects, one kind of error.

py-consul 1.8.0 builds a TLS context on the loop even for http, drops a client certificate, lets the environment
override an explicit token, reads any length of body and lets every foreign error through (CONVENTIONS 5.2);
so its transport is replaced here and its API kept.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from consul import ConsulException, aio, base

from discovery.config import RegistryConfig

CALL_SECONDS = 5.0  # of anything that does not block on purpose
BODY_BYTES = 4 << 20  # 300 instances are 0.4 MiB
CONNECTIONS = 8  # one watch and a few calls


class RegistryUnavailable(Exception):
    """The registry gave no usable answer; the text is one short line, the same for the same cause."""


class TokenRefused(RegistryUnavailable):
    """401 or 403: the ACL token is missing, unknown or too weak. Waiting does not help, an operator does."""


class Endpoint(NamedTuple):
    """Where Consul listens."""

    host: str
    port: int
    tls: bool


class Answer(NamedTuple):
    """A plain HTTP answer, for calls that py-consul has no room for."""

    code: int
    headers: Mapping[str, str]
    body: bytes


class ConsulClient(aio.Consul):  # type: ignore[misc] # py-consul has no types
    """`consul.aio.Consul` on the transport below; raises RegistryUnavailable, whatever went wrong.

    Made anywhere; connects on the running loop when first used.
    """

    def __init__(self, endpoint: Endpoint, config: RegistryConfig) -> None:
        self._config = config
        super().__init__(endpoint.host, endpoint.port, scheme="https" if endpoint.tls else "http")
        # py-consul prefers CONSUL_HTTP_TOKEN to what it is told; here it only stands in for a token never told.
        self.http.fallback_token = self.prepare_headers().get("X-Consul-Token", "")
        self.token = None

    def http_connect(self, host: str, port: int, scheme: str, *_: object) -> Transport:
        """Called by py-consul's constructor, with its ways to verify, which are not ours."""
        return Transport(Endpoint(host, port, scheme == "https"), self._config)

    async def ask(self, path: str, params: list[tuple[str, str]], seconds: float = CALL_SECONDS) -> Answer:
        """GET with the answer's headers, which py-consul keeps to itself; raises unless 200."""

        def only_200(response: Any) -> Answer:
            if response.code != 200:
                raise RegistryUnavailable(f"Consul answered {response.code}")
            return Answer(response.code, response.headers, response.body)

        answer: Answer = await self.http.get(only_200, path, params=params, connections_timeout=seconds)
        return answer


class Transport(aio.HTTPClient):  # type: ignore[misc] # py-consul has no types
    """How requests of py-consul travel; get, put and delete are its own."""

    def __init__(self, endpoint: Endpoint, config: RegistryConfig) -> None:
        # Past py-consul's asyncio constructor: it opens a session, and with it the findings named above.
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        base.HTTPClient.__init__(self, host, endpoint.port, "https" if endpoint.tls else "http")
        self._endpoint = endpoint
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.fallback_token = ""

    async def _request(
        self,
        callback: Callable[[Any], Any],
        method: str,
        uri: str,
        headers: dict[str, str] | None = None,  # noqa: ARG002 # only ever a token, which is ours to add
        data: str | bytes | None = None,
        connections_timeout: float | None = None,
        raw: bool = False,  # noqa: ARG002 # all bodies are bytes here
    ) -> Any:
        try:
            answer = await self._exchange(method, uri, data, connections_timeout or CALL_SECONDS)
            return callback(base.Response(*_judged(answer)))
        except ConsulException as error:
            raise RegistryUnavailable(_one_line(str(error))) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
                await self._forget_session()  # certificates are rotated: read them again for the next try
            raise RegistryUnavailable(_cause(error)) from error

    async def _exchange(self, method: str, uri: str, data: str | bytes | None, seconds: float) -> Answer:
        credentials = await asyncio.to_thread(self._credentials)
        session = await self._open()
        async with session.request(
            method,
            uri,
            data=data,
            headers=credentials,
            timeout=aiohttp.ClientTimeout(total=seconds),
            allow_redirects=False,  # Consul's API never redirects; a token must not follow one
        ) as response:
            return Answer(response.status, response.headers, await _bounded(response.content))

    def _credentials(self) -> dict[str, str]:
        token = token_of(self._config) or self.fallback_token
        return {"X-Consul-Token": token} if token else {}

    async def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RegistryUnavailable("closed")
        if self._session is None:
            # 20 ms of work for TLS: not on the loop.
            context = await asyncio.to_thread(tls_context, self._config) if self._endpoint.tls else False
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _forget_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """Close connections; requests under way end with RegistryUnavailable."""
        self._closed = True
        await self._forget_session()


def token_of(config: RegistryConfig) -> str:
    """The configured token; from its file each time, as others rotate it. Raises OSError when the file is gone."""
    if config.token or not config.token_file:
        return config.token
    return Path(config.token_file).read_text(encoding="utf-8").strip()


def tls_context(config: RegistryConfig) -> ssl.SSLContext:
    """Verifies Consul by the configured CA, else the system's; shows our certificate if we have one. Raises OSError."""
    context = ssl.create_default_context(cafile=config.ca_file or None)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file or None)
    return context


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES:
            raise RegistryUnavailable(f"Consul's answer is longer than {BODY_BYTES >> 20} MiB")
    return bytes(body)


def _judged(answer: Answer) -> Answer:
    """What no caller can use raises; 404 passes, since py-consul gives it a meaning."""
    if answer.code in {401, 403}:
        raise TokenRefused(f"Consul refused the token ({answer.code})")
    if answer.code in {200, 404}:
        return answer
    said = answer.body[:200].decode("utf-8", "replace")
    raise RegistryUnavailable(_one_line(f"Consul answered {answer.code}: {said}"))


def _cause(error: Exception) -> str:
    """A foreign error in stable words: no port numbers of ours, no counters, so that the same cause reads the same."""
    if isinstance(error, TimeoutError):
        return "Consul did not answer in time"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _one_line(f"TLS with Consul failed: {error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return _one_line(f"Consul cannot be reached: {os.strerror(number) if number > 0 else error.os_error}")
    if isinstance(error, aiohttp.ClientError):
        return f"Consul's answer broke off or was no HTTP ({type(error).__name__})"
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()[:200]
