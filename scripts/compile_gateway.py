"""Compile the request path's pure modules with mypyc: `make compiled`, and the gateway's image.

A copy of the packages is compiled, never the source tree: there a stale binary would shadow what somebody edits. The
source runs as it is, everywhere; compiled it costs a sixth less per request (docs/decisions/0014-compiled-modules.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "wire", "tls", "tracing", "discovery", "fleetgate")
# On every request's path, without a base class that is not ours (msgspec's structs are C already), and without a
# coroutine whose finally awaits: mypyc 2.4 loses what its try returns.
GATEWAY = (
    "access_log", "admission", "answers", "backend", "body", "catalogue", "classes", "costs", "exchange", "fleet",
    "forwarding", "head", "head_memo", "lease", "metrics", "node_head", "node_reader", "peers", "placement", "pressure",
    "queue", "rate", "reach", "refusals", "request", "retry_budget", "scheduler", "shelves", "sizing", "standing",
    "strict",
)  # fmt: skip
WIRE = ("image_header", "orca", "paths", "timing")
MODULES = tuple(f"gateway/{name}.py" for name in GATEWAY) + tuple(f"wire/{name}.py" for name in WIRE)


def main(argv: list[str]) -> int:
    """Make or remake the folder that is named; 0 when every module in it is compiled."""
    out = Path(argv[0]).resolve()
    shutil.rmtree(out, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, out / package, ignore=shutil.ignore_patterns("__pycache__"))
    print(f"Compiling {len(MODULES)} modules; this takes a minute")
    log = out / "mypyc.log"
    with log.open("wb") as said:
        done = subprocess.run(
            [sys.executable, "-m", "mypyc", "--config-file=", "--ignore-missing-imports", *MODULES],
            cwd=out,
            env={**os.environ, "MYPYC_OPT_LEVEL": "3", "PYTHONPATH": str(out)},
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    missing = [module for module in MODULES if not list(out.glob(f"{module.removesuffix('.py')}.*.so"))]
    if done.returncode or missing:
        lines = log.read_text(errors="replace").splitlines()[-5:]
        print("\n".join([*lines, f"Compiling failed; the whole log is in {log}"]), file=sys.stderr)
        return 1
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(out / left, ignore_errors=True)
    log.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
