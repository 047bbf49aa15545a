"""A view as one HTML page, which needs nothing but itself, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Any

from examples.fleet.survey import Row, Verdict, View

__all__ = ["as_html", "as_json"]

WORDS = {Verdict.DOWN: "down", Verdict.BLOCKED: "blocked", Verdict.SLOW: "slow", Verdict.WELL: "well"}

STYLE = """
:root { color-scheme: light dark;
  --ink: light-dark(#1d2126, #e4e7ea); --soft: light-dark(#5c6670, #98a2ac); --line: light-dark(#e2e5e9, #2c3238);
  --paper: light-dark(#fff, #15181b); --band: light-dark(#f6f7f9, #1c2024);
  --down: light-dark(#b3261e, #ff8a80); --blocked: light-dark(#8a3fa0, #d9a3e8);
  --slow: light-dark(#8a5a00, #f0bf5a); --well: light-dark(#2e7d4f, #7fcf9f); }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 78rem; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums }
h1 { font-size: 1.5rem; margin: 0 } p { margin: .25rem 0 0; color: var(--soft) }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0 }
dl div { flex: 1 1 7rem; padding: .75rem 1rem; background: var(--band); border-radius: .5rem }
dt { color: var(--soft); font-size: .85rem } dd { margin: 0; font-size: 1.6rem; font-weight: 600 }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-weight: 600; font-size: .85rem; color: var(--soft) }
thead th { position: sticky; top: 0; background: var(--paper); border-bottom: 2px solid var(--line) }
th, td { padding: .45rem .6rem; vertical-align: top; border-bottom: 1px solid var(--line) }
tbody th { color: var(--ink); font-size: inherit } tbody th, .post { white-space: nowrap }
small { display: block; color: var(--soft); font-weight: 400 }
.n { text-align: right; white-space: nowrap } .stale { color: var(--soft); font-style: italic }
.waits { font-weight: 700 } .state { font-weight: 600; white-space: nowrap } .state::before { content: "\\25cf\\a0" }
.down { color: var(--down) } .blocked { color: var(--blocked) }
.slow { color: var(--slow) } .well { color: var(--well) }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em } a:hover { color: var(--well) }
"""


def as_html(view: View) -> str:
    """One page, sorted by trouble."""
    troubled = len(view.rows) - view.count(Verdict.WELL)
    title = f"{troubled} of {len(view.rows)} sites need a look" if troubled else f"All {len(view.rows)} sites are well"
    tiles = [*((WORDS[verdict], view.count(verdict), WORDS[verdict]) for verdict in Verdict)]
    totals = view.totals()
    tiles += [("comments waiting", totals["held"], ""), ("posts", totals["posts"], "")]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>{view.taken:%d %B %Y, %H:%M:%S} UTC, in {view.seconds:.1f} s. {answers(view)}</p>",
            "<dl>",
            *(f'<div><dt>{name}</dt><dd class="{kind if n else ""}">{n:,}</dd></div>' for name, n, kind in tiles),
            "</dl>",
            '<table><thead><tr><th>Site<th>State<th class="n">Waiting<th class="n">Posts',
            '<th>Newest post<th class="n">Last good sync</tr></thead><tbody>',
            *(line(row, view.taken) for row in view.rows),
            "</tbody></table></body></html>\n",
        ]
    )


def line(row: Row, now: datetime) -> str:
    return "".join(cells(row, now))


def cells(row: Row, now: datetime) -> Iterator[str]:
    kind, good = WORDS[row.verdict], row.good
    reason = "" if row.reason is None else f"<small>{escape(row.reason)}</small>"
    yield f'<tr><th scope="row"><a href="{escape(row.site.url)}">{escape(row.site.name)}</a>'
    yield f'<small>{escape(row.site.server)}</small></th><td><span class="state {kind}">{kind}</span>{reason}</td>'
    if good is None:
        yield '<td class="n">&ndash;<td class="n">&ndash;<td>&ndash;<td class="n">never</tr>'
        return
    stale = " stale" if row.stale else ""
    waits = " waits" if good.held else ""
    yield f'<td class="n{stale}{waits}">{good.held:,}</td><td class="n{stale}">{good.posts:,}</td>'
    yield f'<td class="post{stale}">'
    if good.published is not None:
        yield f'<a href="{escape(good.link)}">{escape(good.title) or "untitled"}</a>'
        yield f"<small>{good.published:%d %b %Y}</small>"
    ago = since((now - good.synced).total_seconds())
    mark = '<small class="slow">stale</small>' if row.stale else ""
    yield f'</td><td class="n{stale}"><time datetime="{good.synced.isoformat()}">{ago}</time>{mark}</td></tr>'


def since(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def answers(view: View) -> str:
    told = view.answers
    return (
        f"Answers: {told.get('origin', 0):,} sent anew, {told.get('revalidated', 0):,} still good (304),"
        f" {told.get('cache', 0):,} from the cache, {told.get('failed', 0):,} failed."
    )


def as_json(view: View) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "taken": view.taken.isoformat(),
        "seconds": round(view.seconds, 3),
        "sites": {WORDS[verdict]: view.count(verdict) for verdict in Verdict},
        "totals": view.totals(),
        "answers": dict(view.answers),
        "rows": [row_as_json(row) for row in view.rows],
    }


def row_as_json(row: Row) -> dict[str, Any]:
    good = row.good
    return {
        "site": row.site.name,
        "url": row.site.url,
        "server": row.site.server,
        "state": WORDS[row.verdict],
        "reason": row.reason,
        "stale": row.stale,
        "last_good_sync": None if good is None else good.synced.isoformat(),
        "posts": None if good is None else good.posts,
        "held": None if good is None else good.held,
        "newest": None
        if good is None or good.published is None
        else {
            "title": good.title,
            "link": good.link,
            "published": good.published.isoformat(),
        },
    }
