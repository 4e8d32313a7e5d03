"""A self-contained HTML page of headings, sentences, tables and drawings: no script, nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --line: #8884; --paper: #fff; --ink: #1b1f24; --soft: #57606a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ee; --soft: #9aa4b0; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 88rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.table { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .25rem .55rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; min-width: 14rem; }
figure { margin: 1rem 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }
figure svg { width: 100%; height: auto; display: block; }
.good { color: #1a7f37; } .bad { color: #cf222e; font-weight: 600; }
@media (prefers-color-scheme: dark) { .good { color: #4ac26b; } .bad { color: #ff7b72; } }
"""


class Page:
    """Built from top to bottom, then written."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def say(self, text: str, mood: str = "") -> None:
        """A sentence; `mood` is good, bad or nothing."""
        self._parts.append(f'<p class="{mood}">{escape(text)}</p>' if mood else f"<p>{escape(text)}</p>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", words: bool = False) -> None:
        """Cells are text; with `words` the last column is prose."""
        last = len(head) - 1
        cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
        body = "".join(
            "<tr>" + "".join(_cell(text, words and n == last, n == 0) for n, text in enumerate(row)) + "</tr>\n"
            for row in rows
        )
        told = f"<caption>{escape(caption)}</caption>" if caption else ""
        self._parts.append(
            f'<div class="table"><table>{told}<thead><tr>{cells}</tr></thead>\n<tbody>{body}</tbody></table></div>'
        )

    def drawing(self, svg: str, description: str) -> None:
        """An SVG drawing of our own making, put in as it is."""
        self._parts.append(f'<figure role="img" aria-label="{escape(description)}">{svg}</figure>')

    def html(self) -> str:
        """The whole file."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{escape(self._title)}</title><style>{STYLE}</style></head>\n"
            f"<body><h1>{escape(self._title)}</h1>\n" + "\n".join(self._parts) + "\n</body></html>\n"
        )


def _cell(text: str, words: bool, first: bool) -> str:
    if first:
        return f'<th scope="row">{escape(text)}</th>'
    return f'<td class="words">{escape(text)}</td>' if words else f"<td>{escape(text)}</td>"
