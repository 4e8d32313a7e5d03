"""Get what the tests need and the environment does not bring: Consul, a browser, promtool, wrk, images.

What is on PATH is used. On Debian the rest is had by itself: Consul and promtool into var/, unpacked and not
installed; Chromium and wrk need libraries and so are installed, which takes root. Elsewhere a line says what to
install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAC_BROWSER = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def main() -> int:
    """0 when every part is there."""
    missing = [
        line for line in (_ours("consul"), _ours("promtool"), _ours("pillow_images"), _browser(), _wrk()) if line
    ]
    for line in missing:
        print(f"fleetgate setup: {line}", file=sys.stderr)
    return 1 if missing else 0


def _ours(part: str) -> str:
    found = subprocess.run([sys.executable, "-m", f"tests.get_{part}"], cwd=ROOT, check=False)
    return "" if found.returncode == 0 else f"no {part} for the tests (see the line above)"


def _browser() -> str:
    if any(shutil.which(name) for name in BROWSERS) or MAC_BROWSER.exists():
        return ""
    if not shutil.which("apt-get"):
        return "the page's tests need Chromium or Chrome on PATH; please install one"
    if os.geteuid() != 0:
        return "the page's tests need Chromium; please run: sudo apt-get install chromium"
    return _installed("chromium", "fonts-dejavu-core")


def _wrk() -> str:
    if shutil.which("wrk"):
        return ""
    if not shutil.which("apt-get"):
        return "the comparison of proxies needs wrk on PATH; please install it"
    if os.geteuid() != 0:
        return "the comparison of proxies needs wrk; please run: sudo apt-get install wrk"
    return _installed("wrk")


def _installed(*packages: str) -> str:
    print(f"Installing Debian's {packages[0]} for the tests")
    log = ROOT / "var" / "log" / f"apt-{packages[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    with log.open("wb") as out:
        for command in (["apt-get", "update"], install):
            if subprocess.run(command, stdout=out, stderr=out, env=environment, check=False).returncode:
                return f"could not install {packages[0]}; the whole log is in {log}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
