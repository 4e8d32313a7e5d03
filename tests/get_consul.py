"""Finds or fetches a real Consul for the tests, and prints its path.

`consul` on PATH is used when it is 1.8 or newer. Otherwise, on Debian, the package of release bullseye is
fetched from the mirror this machine already uses, checked against Debian's own keys and unpacked below
`var/consul`: no root, nothing installed. Elsewhere one line says what to install.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "var" / "consul"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OLDEST = (1, 8)
NEEDED = "the tests need Consul 1.8 or newer"
ADVICE = "put a `consul` binary on PATH (macOS: brew install consul)"


class NotObtainable(Exception):
    """One line that says what is missing and what to do."""


def obtain(folder: Path = FOLDER) -> Path:
    """Path of a Consul binary; at once when there is one already. Raises NotObtainable."""
    on_path = shutil.which("consul")
    if on_path and version(Path(on_path)) >= OLDEST:
        return Path(on_path)
    unpacked = folder / "usr" / "bin" / "consul"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch it once
            if not unpacked.exists():
                fetch_debian(folder)
    return unpacked


def version(binary: Path) -> tuple[int, ...]:
    """Of `Consul v1.8.7`: (1, 8); () when it cannot be told."""
    told = _run([str(binary), "version"], check=False)
    found = re.search(r"Consul v(\d+)\.(\d+)", told)
    return tuple(int(part) for part in found.groups()) if found else ()


def fetch_debian(folder: Path) -> None:
    """Download the package with a private apt and unpack it; the binary appears only when whole."""
    for tool in ("apt-get", "dpkg"):
        if not shutil.which(tool):
            raise NotObtainable(f"{NEEDED}, and this is no Debian: {ADVICE}")
    if not KEYRING.exists():
        raise NotObtainable(f"{NEEDED}: install debian-archive-keyring (apt checks signatures with it), or {ADVICE}")
    apt = folder / "apt"
    settings = write_private_apt(apt, mirror())
    try:
        _apt(settings, "update", "--quiet", cwd=apt)
        _apt(settings, "download", "--quiet", "consul", cwd=apt)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
        raise NotObtainable(f"{NEEDED}; apt could not fetch it ({' '.join(last)}): {ADVICE}") from error
    package = max(apt.glob("consul_*.deb"))
    fresh = folder / "unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    _run(["dpkg", "-x", str(package), str(fresh)])
    shutil.rmtree(folder / "usr", ignore_errors=True)
    (fresh / "usr").rename(folder / "usr")
    shutil.rmtree(fresh)
    shutil.rmtree(apt)


def mirror() -> str:
    """The archive this machine's apt takes its own release from, e.g. `…/debian`; apt itself reads its sources."""
    codename = _codename()
    listed = _run(["apt-get", "update", "--print-uris"], check=False)
    for uri, suite in re.findall(r"^'(\S+?)/+dists/([^/']+)/InRelease'", listed, re.MULTILINE):
        if suite in {codename, "stable", "oldstable", "testing", "unstable", "sid"}:
            return str(uri)
    raise NotObtainable(f"{NEEDED}, and apt on this machine knows no Debian archive: {ADVICE}")


def _codename() -> str:
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    return found.group(1) if found else ""


def write_private_apt(apt: Path, archive: str) -> Path:
    """An apt of our own below `apt`: its sources, lists and cache, with the machine's proxy settings and no hooks."""
    shutil.rmtree(apt, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive} bullseye main\n", encoding="utf-8")
    transport = [
        line
        for line in _run(["apt-config", "dump"]).splitlines()
        # Hooks of the machine (cleaning caches, refreshing catalogues) are not ours to run; how to reach the mirror is.
        if re.match(r"Acquire::(http|https|ftp|Retries|ForceIPv[46])\b", line)
    ]
    settings = apt / "apt.conf"
    settings.write_text(
        "\n".join(
            [
                'Dir::Etc::Parts "/dev/null";',
                'Dir::Etc::Main "/dev/null";',
                f'Dir::Etc::SourceList "{apt}/sources.list";',
                'Dir::Etc::SourceParts "/dev/null";',
                f'Dir::State "{apt}/state";',
                f'Dir::State::Lists "{apt}/lists";',
                f'Dir::State::Status "{apt}/status";',
                f'Dir::Cache "{apt}/cache";',
                'APT::Sandbox::User "";',
                'Acquire::Languages "none";',
                *transport,
                "",
            ]
        ),
        encoding="utf-8",
    )
    return settings


def _apt(settings: Path, *arguments: str, cwd: Path) -> str:
    return _run(["apt-get", *arguments], cwd=cwd, env={**os.environ, "APT_CONFIG": str(settings)})


def _run(command: list[str], *, check: bool = True, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, check=check, capture_output=True, text=True, cwd=cwd, env=env)
    return done.stdout


def tell(get: Callable[[], Path]) -> int:
    """Print the path that `get` finds, or its one line of advice on stderr; the exit code."""
    try:
        print(get())
    except NotObtainable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(tell(obtain))
