"""A certificate authority for one test, by OpenSSL's own tool: certificates that are renewed while somebody listens."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "certificates"  # made once: expired, of a stranger, for elsewhere


class Authority:
    """Keeps its files in `folder`; `ca` is what others believe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        subject = ("-subj", "/CN=test authority", "-days", "2")
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca, *subject)

    def issue(self, name: str, days: int = 1) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and localhost, and its key; issued again under the same name, it replaces both.

        Each file is replaced at once, one after the other, as careful programs do.
        """
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        new_cert, new_key, request = (self.folder / f"{name}.{part}.new" for part in ("pem", "key", "csr"))
        extensions = self.folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl("req", *_NEW_KEY, "-keyout", new_key, "-out", request, "-subj", f"/CN={name}")
        signing = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions, "-days", days)
        _openssl("x509", "-req", "-in", request, "-out", new_cert, *signing)
        os.replace(new_key, key)
        os.replace(new_cert, cert)
        return cert, key

    def client(self, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """How a client connects that believes us, showing `pair` if it has one."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pair is not None:
            context.load_cert_chain(*pair)
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | int | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
