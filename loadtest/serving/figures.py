"""`python -m loadtest.serving.figures`: the node's promises about time, each measured on a real node and one machine.

Exit code 1 when one is not held. Ratios carry over to other machines, times do not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from time import gmtime, strftime

from rich.console import Console
from rich.table import Table

from loadtest.prove.program import DidNotStart
from loadtest.serving import lag, small_first, switch, unload

MEASURES = {"lag": lag.measure, "small": small_first.measure, "switch": switch.measure, "unload": unload.measure}
WIDTH = 160  # of a file or a pipe


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *MEASURES], help="which (all)")
    names = parser.parse_args().only or list(MEASURES)
    table = Table("promise", "measured", "goal", "held", "how", title=strftime("%Y-%m-%d %H:%M UTC", gmtime()))
    held = True
    for name in names:
        try:
            figures = asyncio.run(MEASURES[name]())
        except DidNotStart as error:
            print(error, file=sys.stderr)
            return 2
        for figure in figures:
            table.add_row(figure.name, figure.measured, figure.goal, "yes" if figure.held else "NO", figure.how)
            held = held and figure.held
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
