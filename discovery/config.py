"""Where the registry is and how it is spoken to: shared by gateway and node."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class RegistryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One registry: a Consul URL, a directory, or a fixed list."""

    url: Annotated[
        str,
        Meta(
            description="consul://host:port, consuls://host:port (TLS), dir:///path, or static:host:port[/pool],…; "
            "a directory needs no service to run"
        ),
    ] = "dir:var/registry"
    service: Annotated[str, Meta(description="the Consul service name")] = "fleetgate-node"
    token: Annotated[str, Meta(description="Consul ACL token")] = ""
    token_file: Annotated[str, Meta(description="the token in a file, so that it stands in no environment")] = ""
    ca_file: Annotated[str, Meta(description="CA of Consul's certificate")] = ""
    cert_file: Annotated[str, Meta(description="client certificate for Consul")] = ""
    key_file: Annotated[str, Meta(description="its key")] = ""
    wait_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=600,
            description="length of a blocking query: an agent that hangs shows as stale after this + 6 s",
        ),
    ] = 10.0
    refresh_seconds: Annotated[float, Meta(gt=0, description="how often an announcement is checked and renewed")] = 2.0
    stale_seconds: Annotated[float, Meta(gt=0, description="directory: a file not refreshed for this long is gone")] = (
        10.0
    )
