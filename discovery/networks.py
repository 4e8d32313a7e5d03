"""Where nodes may live (pure), and the address a node is reached at. Discovery data is input: RELIABILITY E6.

Names are not resolved here: a name is allowed only when listed, and whoever connects to it checks the address
it led to with `peer_allowed`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Never, whatever the configuration: nothing of a fleet lives there, and clouds hand out credentials there.
NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this host"; Linux connects to loopback
        "169.254.0.0/16",  # link-local, and the metadata services of AWS, GCP, Azure
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved, broadcast
        "100.100.100.200/32",  # Alibaba's metadata
        "168.63.129.16/32",  # Azure's wire server
        "::/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::/32",  # AWS's metadata over IPv6, inside fc00::/7
        "fd20:ce::/32",  # GCP's
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Networks:
    """An allow-list in parsed form: CIDR blocks, whole names, and `*.suffix` names."""

    blocks: tuple[Network, ...]
    names: frozenset[str]
    suffixes: tuple[str, ...]


def parse_networks(entries: Iterable[str]) -> Networks:
    """Of `10.0.0.0/8`, `192.168.1.7`, `node-1`, `*.svc.cluster.local`. Raises ValueError naming a bad entry."""
    blocks: list[Network] = []
    names: set[str] = set()
    suffixes: list[str] = []
    for entry in entries:
        text = entry.strip().lower().rstrip(".")
        try:
            blocks.append(ipaddress.ip_network(text))
            continue
        except ValueError as error:
            if not NAME.fullmatch(text) or _numeric(text):
                raise ValueError(f"neither a network, an address nor a name: {entry!r} ({error})") from None
        if text.startswith("*."):
            suffixes.append(text[1:])
        else:
            names.add(text)
    return Networks(tuple(blocks), frozenset(names), tuple(suffixes))


def allowed(host: str, networks: Networks) -> bool:
    """May a node live at this host? Addresses by block, names only when listed."""
    address = _address(host)
    if address is not None:
        return _inside(address, networks)
    name = host.lower().rstrip(".")
    # What a resolver would read as an address in an odd spelling (127.1, 0x7f000001) is never a name.
    if not NAME.fullmatch(name) or _numeric(name):
        return False
    return name in networks.names or name.endswith(networks.suffixes)


def peer_allowed(address: str, networks: Networks) -> bool:
    """May we talk to this address, to which an allowed name has led? Never link-local; else inside a block.

    With no block listed, a listed name's address is trusted as far as it is not forbidden for all.
    """
    parsed = _address(address)
    return parsed is not None and (_inside(parsed, networks) if networks.blocks else not _forbidden(parsed))


def own_address(peer: str, port: int = 9) -> str:
    """Our address on the network that leads to `peer`: what a node bound to every interface announces.

    Nothing is sent: connecting a datagram socket only asks the routing table. Raises OSError when there is no route.
    """
    family, kind, _, _, target = socket.getaddrinfo(peer, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def _address(host: str) -> Address | None:
    """The address meant, without the wrappings that carry an IPv4 address inside an IPv6 one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def _inside(address: Address, networks: Networks) -> bool:
    return not _forbidden(address) and any(address in block for block in networks.blocks)


def _forbidden(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return True
    return any(address in block for block in NEVER)


def _numeric(name: str) -> bool:
    return bool(NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]))
