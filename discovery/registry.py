"""Opens the registry that a URL names: the one place that knows all kinds."""

from __future__ import annotations

import ssl
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from discovery.config import RegistryConfig
from discovery.consul.client import ConsulClient, Endpoint, tls_context, token_of
from discovery.consul.registrar import ConsulRegistrar
from discovery.consul.watcher import ConsulWatcher
from discovery.directory.registrar import DirectoryRegistrar
from discovery.directory.watcher import DirectoryWatcher
from discovery.facts import valid_host
from discovery.instance import Instance, Registrar, Watcher
from discovery.networks import own_address
from discovery.static import StaticRegistrar, StaticWatcher, parse_list

CONSUL_PORT, CONSUL_TLS_PORT = 8500, 8501
WILDCARDS = {"", "0.0.0.0", "::"}
ANYWHERE = "192.0.2.1"  # reserved for documentation (RFC 5737): reached by the default route, and never spoken to


def open_watcher(config: RegistryConfig, rng: Random | None = None) -> Watcher:
    """For a gateway. Raises ValueError, one line, for a URL or a file that cannot be right; connects later."""
    scheme, rest = _split(config)
    if scheme == "dir":
        return DirectoryWatcher(_folder(config, rest), config)
    if scheme == "static":
        return StaticWatcher(_listed(config, rest))
    return ConsulWatcher(_client(config), config, rng or Random())


def open_registrar(config: RegistryConfig, rng: Random | None = None) -> Registrar:
    """For a node. As open_watcher."""
    scheme, rest = _split(config)
    if scheme == "dir":
        return DirectoryRegistrar(_folder(config, rest), config)
    if scheme == "static":
        _listed(config, rest)
        return StaticRegistrar()
    return ConsulRegistrar(_client(config), config, rng or Random())


def announced_host(bound: str, config: RegistryConfig) -> str:
    """The host to announce for a node that listens at `bound`.

    A wildcard is nowhere to connect to: then it is our address on the registry's network, or loopback where
    the registry is this machine itself. Raises OSError when this machine has no network.
    """
    if bound not in WILDCARDS:
        return bound
    scheme, _ = _split(config)
    if not scheme.startswith("consul"):
        return "127.0.0.1"
    try:
        return own_address(_endpoint(config).host)
    except OSError:  # its name does not resolve while it is down, and that must fail no node
        return own_address(ANYWHERE)


def _split(config: RegistryConfig) -> tuple[str, str]:
    scheme, colon, rest = config.url.partition(":")
    if not colon or scheme not in {"consul", "consuls", "dir", "static"}:
        raise ValueError(f"registry.url {config.url!r}: expected consul[s]://host:port, dir:PATH or static:host:port,…")
    return scheme, rest


def _folder(config: RegistryConfig, rest: str) -> Path:
    if rest.startswith("//") and not rest.startswith("///"):
        raise ValueError(f"registry.url {config.url!r}: a directory is dir:relative/path or dir:///absolute/path")
    if not rest.strip("/"):
        raise ValueError(f"registry.url {config.url!r}: names no directory")
    if config.stale_seconds < 2 * config.refresh_seconds:
        raise ValueError("registry.stale_seconds: below twice registry.refresh_seconds, living nodes would seem dead")
    return Path("/" + rest.lstrip("/") if rest.startswith("/") else rest)


def _listed(config: RegistryConfig, rest: str) -> frozenset[Instance]:
    try:
        return parse_list(rest, config.service)
    except ValueError as error:
        raise ValueError(f"registry.url: static list: {error}") from None


def _client(config: RegistryConfig) -> ConsulClient:
    endpoint = _endpoint(config)
    try:
        token_of(config)
        if endpoint.tls:
            tls_context(config)  # a wrong file is told at start, not at the first connection
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError(f"registry: token, CA or certificate file cannot be used: {error}") from None
    return ConsulClient(endpoint, config)


def _endpoint(config: RegistryConfig) -> Endpoint:
    try:
        parts = urlsplit(config.url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"registry.url: {error}") from None
    if "@" in parts.netloc:
        raise ValueError("registry.url: no user or password here; the token goes into registry.token_file")
    host = parts.hostname or ""
    if not valid_host(host) or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"registry.url {config.url!r}: expected {parts.scheme}://host:port and nothing more")
    tls = parts.scheme == "consuls"
    return Endpoint(host, port or (CONSUL_TLS_PORT if tls else CONSUL_PORT), tls)
