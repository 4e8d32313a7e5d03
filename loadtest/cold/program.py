"""Answer images without a server: `python -m loadtest.cold.program IMAGE` answers one and ends, as scripts started per
request do; without an image it answers every path that comes on its standard input, a line each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from loadtest.serving.model import Model


def main(arguments: list[str]) -> None:
    """Load the model once, answer all that is asked."""
    model = Model()
    for path in arguments or (line.strip() for line in sys.stdin):
        print(json.dumps(model.answer(Path(path).read_bytes())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
