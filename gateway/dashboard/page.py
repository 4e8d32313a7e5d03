"""The page as the server draws it: the verdict at once, and without JavaScript the whole table. Pure."""

from __future__ import annotations

from html import escape

from gateway.dashboard.document import Document, Node
from gateway.dashboard.verdict import age

MARKS = {"ok": "✓", "degraded": "!", "down": "✕"}
TONES = {"healthy": "ok", "draining": "rest", "ejected": "bad", "critical": "bad"}


def draw(document: Document, *, reload: bool = False) -> str:
    """HTML; everything that came from outside is escaped. `reload`: every 5 s, for whoever has no JavaScript.

    Only for who asks for it: a page that reloads by itself takes the place from whoever has it read out (WCAG 2.2.1).
    """
    verdict = document.verdict
    link = '<a href="./">Stop reloading</a>' if reload else '<a href="./?reload">Reload every 5 seconds</a>'
    refresh = '<noscript><meta http-equiv="refresh" content="5"></noscript>\n' if reload else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{MARKS[verdict.level]} {escape(verdict.level)} · fleetgate</title>
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/icon.svg">
<link rel="stylesheet" href="static/vendor/uplot.css">
<link rel="stylesheet" href="static/page.css">
<script src="static/vendor/uplot.js" defer></script>
<script src="static/app.js" type="module"></script>
<link rel="modulepreload" href="static/vendor/htm-preact.js">
{refresh}</head>
<body>
<div id="app">
<header class="top"><h1>fleetgate</h1></header>
<section class="verdict {escape(verdict.level)}" id="verdict">
<span class="mark" aria-hidden="true">{MARKS[verdict.level]}</span><strong>{escape(verdict.text)}</strong>
</section>
</div>
<noscript>
<main class="plain">
{_numbers(document)}
{_pools(document)}
{_nodes(document)}
<p class="muted">Without JavaScript this page is drawn by the gateway, once. {link}</p>
</main>
</noscript>
</body>
</html>
"""


def _numbers(document: Document) -> str:
    now, minute, registry = document.last_10s, document.last_60s, document.registry
    facts = [
        f"{now.per_second:.1f} requests per second",
        f"light p99 {_ms(minute.light.p99)}",
        f"heavy p99 {_ms(minute.heavy.p99)}",
        f"{now.errors} errors and {now.refused} refusals in 10 s",
        f"registry {'stale: ' + registry.stale if registry.stale else 'good'} for {age(registry.for_seconds)}",
    ]
    if document.workers:
        serving = sum(worker.state == "serving" for worker in document.workers)
        facts.append(f"{serving} of {len(document.workers)} worker processes serving")
    return f"<p>{escape(' · '.join(facts))}</p>"


def _pools(document: Document) -> str:
    rows = "".join(
        _row(
            pool.name,
            f"{pool.usable} of {pool.nodes}",
            f"{pool.busy} of {pool.capacity}",
            str(pool.queued),
            f"{pool.oldest_wait_seconds:.1f} s",
            pool.spill,
        )
        for pool in document.pools
    )
    head = _head("Pool", "Nodes usable", "Slots busy", "Queued", "Oldest waits", "Spill")
    return f"<table><caption>Pools</caption>{head}<tbody>{rows}</tbody></table>"


def _nodes(document: Document) -> str:
    head = _head("Node", "Pool", "State", "For", "Why", "Slots", "Work left", "Errors", "Share", "Models", "Last error")
    rows = "".join(_node(node) for node in document.nodes)
    return f'<table class="nodes"><caption>Nodes</caption>{head}<tbody>{rows}</tbody></table>'


def _node(node: Node) -> str:
    tone = TONES.get(node.state, "warn")
    last = f"{node.last_error.code} {node.last_error.detail}" if node.last_error else "none"
    return _row(
        node.id,
        node.pool,
        node.state,
        age(node.for_seconds),
        node.why,
        f"{node.in_flight - node.sent_ahead}/{node.slots}",
        f"{node.work_ms / 1000:.1f} s",
        f"{node.error_share:.1%}",
        f"{node.share:.0%}",
        ", ".join(node.models),
        last,
        tone=tone,
    )


def _row(*cells: str, tone: str = "") -> str:
    return f'<tr class="{tone}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _head(*titles: str) -> str:
    cells = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return f"<thead><tr>{cells}</tr></thead>"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:.0f} ms"
