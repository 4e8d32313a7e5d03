"""Options of TLS, for what listens and for what connects: shared by gateway and node."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_CERT_FILE = "the certificate, then its intermediates, PEM"
_LOOK = "how often the files are looked at; a changed pair is taken when it stood still for one look"


class ServerTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS of a listener."""

    cert_file: Annotated[str, Meta(description=f"{_CERT_FILE}; empty: plain HTTP")] = ""
    key_file: Annotated[str, Meta(description="its key, without a password; empty: it stands in cert_file")] = ""
    client_ca_file: Annotated[
        str, Meta(description="whoever connects needs a certificate of these CAs; empty: nobody needs one")
    ] = ""
    handshake_seconds: Annotated[float, Meta(gt=0, description="slowloris before the first byte of HTTP ends here")] = (
        10.0
    )
    look_seconds: Annotated[float, Meta(gt=0, description=_LOOK)] = 10.0


class ClientTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS towards nodes; with a CA every node must speak it."""

    ca_file: Annotated[
        str, Meta(description="whose certificates nodes must have; empty: nodes are spoken to plainly")
    ] = ""
    cert_file: Annotated[str, Meta(description=f"shown to nodes that ask: {_CERT_FILE}; empty: none")] = ""
    key_file: Annotated[str, Meta(description="its key, without a password; empty: it stands in cert_file")] = ""
    server_name: Annotated[
        str, Meta(description="what every node's certificate names; empty: the address the registry names")
    ] = ""
    look_seconds: Annotated[float, Meta(gt=0, description=_LOOK)] = 10.0
