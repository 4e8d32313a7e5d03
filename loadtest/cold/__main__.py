"""`python -m loadtest.cold` (`make bench-cold`): first answer, steady answer and rate of three ways to run one model.

A closed loop of one client and of eight, small photos. `--quick` is a smoke test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from loadtest.cold import report
from loadtest.cold.measure import Figures, measure
from loadtest.cold.ways import WAYS
from loadtest.serving import photos
from repository import packaged

CONSOLE = Console(stderr=True)


def main() -> int:
    """1 when any way answered wrongly."""
    parser = argparse.ArgumentParser(prog="make bench-cold", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a second and two clients")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each loop; every client asks twice at least")
    parser.add_argument("--models", type=Path, default=Path("var/models"), help="where the packaged model is kept")
    parser.add_argument("--out", type=Path, default=Path("var/bench/cold"))
    args = parser.parse_args()
    if args.quick:
        args.clients, args.seconds = [1, 2], 1.0
    artefact = packaged.ensure(args.models, CONSOLE.print).resolve()
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        images = _written(Path(folder))
        for name in args.ways:
            CONSOLE.print(f"{name}: {', '.join(map(str, args.clients))} clients")
            found.append(measure(name, WAYS[name](artefact), images, args.clients, args.seconds))
    report.write(found, args.out)
    return 1 if any(figures.wrong for figures in found) else 0


def _written(folder: Path) -> dict[Path, str]:
    """Files of the small photos, each with the label that is right."""
    found = {}
    for number, photo in enumerate(photos.chosen()[0]):
        file = folder / f"{number}.jpg"
        file.write_bytes(photo.body)
        found[file] = photo.label
    return found


if __name__ == "__main__":
    sys.exit(main())
