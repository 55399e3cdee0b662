"""The report: where every tile stands, on one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from retrieve.errors import RetrieveError
from retrieve.host.messages import complain
from retrieve.report.drawing import COLOURS, style, svg
from retrieve.report.map import Groups, page_map
from retrieve.report.sky import centres, is_on_sky
from retrieve.report.timeline import CURVES, timeline
from retrieve.settings import Settings
from retrieve.stamps.runs import Run
from retrieve.stamps.stamps import Stamps
from retrieve.standing.survey import AT_SOURCE, DAMAGED, FAILED, NEWER, STATES, Survey, goal, survey
from retrieve.tiles import TILE, tiles_of
from retrieve.wording import size, some, span

#: What the page is made of.
_PARTS = Path(__file__).parent / "page"
#: Runs that the page lists, and of which the rate is told.
_RUNS = 12
#: Size of the text of its pictures, in points.
_POINTS = 9


def look(settings: Settings) -> Survey:
    """Look where every tile stands, for a picture of it.

    Raises
    ------
    RetrieveError
        If nothing was listed yet, or no tile can be shown.
    """
    stamps = Stamps(settings.stamps, settings.product_set().model)
    stamps.check_listed()
    found = survey(settings, stamps)
    if settings.unit is not TILE:
        return found
    off_sky = [tile for one in found.tiles for tile in tiles_of(one.tile) if not is_on_sky(tile)]
    if len(off_sky) == sum(len(tiles_of(one.tile)) for one in found.tiles):
        raise RetrieveError(f"no tile of '{settings.tiles}' is on the sky; give TILES a list of tiles such as 182.308")
    if off_sky:
        complain(f"{some(len(off_sky), 'tile')} not on the sky, such as '{off_sky[0]}'; correct the list")
    return found


def groups(found: Survey) -> Groups:
    """Group the tiles that are on the sky by state."""
    states: Groups = {state: [] for state in STATES}
    for one in found.tiles:
        states[one.state] += filter(is_on_sky, tiles_of(one.tile))
    return states


def headline(found: Survey, settings: Settings) -> str:
    """Say how many tiles are done."""
    counts, final = found.counts(), goal(settings)
    total = len(found.tiles)
    return f"{counts[final]:,} of {total:,} {settings.unit.name}{'' if total == 1 else 's'} {final}"


def shares(found: Survey) -> str:
    """Say how many tiles are in each state that there is."""
    return ", ".join(f"{count:,} {state}" for state, count in found.counts().items() if count)


def page(found: Survey, settings: Settings, now: datetime) -> str:
    """Write the page."""
    unit, sky, hidden = settings.unit, "<svg/>", "hidden"
    if unit is TILE:
        hidden = ""
        with style(_POINTS):
            sky = svg(page_map(groups(found)), f"Sky map of the tiles: {shares(found)}")
    texts = {
        "unit": unit.name,
        "Unit": unit.name.capitalize(),
        "headline": headline(found, settings),
        "about": f"{source(settings)} · {now:%-d %B %Y, %H:%M} UTC",
        "shares": shares(found),
        "caption": "Equal-area projection. Right ascension and declination are in degrees; east is to the left.",
    }
    return Template(_part("page.html")).substitute(
        {name: escape(text) for name, text in texts.items()},
        colours=_colours(),
        style=_part("page.css"),
        script=_part("page.js"),
        data=_data(found, settings),
        map=sky,
        hidden=hidden,
        bar="".join(
            f'<i style="flex:{count};--of-state:var(--state-{index})"></i>'
            for index, count in enumerate(found.counts().values())
            if count
        ),
        chips=_chips(found, settings),
        progress=_progress(found),
        products=_products(found),
        runs=_runs(found),
    )


def source(settings: Settings) -> str:
    """Say what the tiles are of, and where they come from."""
    model = settings.product_set().model
    what = f"PSF model {model}" if model == settings.psf else model.capitalize()
    return f"{what} from {' '.join(settings.sources())}"


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _colours() -> str:
    light, dark = (";".join(f"--{name}:{pair[ground]}" for name, pair in COLOURS.items()) for ground in (0, 1))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _data(found: Survey, settings: Settings) -> str:
    """Write the tiles as JSON, grouped by state as on the map; entries without a place on the sky come last."""
    # A job of several tiles is a row for each of them.
    tiles = [(tile, one) for one in found.tiles for tile in tiles_of(one.tile)]
    tiles.sort(key=lambda pair: (STATES.index(pair[1].state), not is_on_sky(pair[0])))
    where = centres(tile for tile, _ in tiles if is_on_sky(tile))
    places = zip(where.ra.deg.round(3).tolist(), where.dec.deg.tolist(), strict=True)
    rows = [
        [tile, STATES.index(one.state), one.why, one.bytes, one.date[:16].replace("T", " ")]
        + ([*next(places)] if is_on_sky(tile) else [None, None])
        for tile, one in tiles
    ]
    text = json.dumps(
        {"states": STATES, "unit": settings.unit.name, "tiles": rows}, separators=(",", ":"), ensure_ascii=False
    )
    # Nothing in it may end the element that it is in.
    return text.replace("<", "\\u003c")


def _chips(found: Survey, settings: Settings) -> str:
    """Write a button for each state that there is; those where something is left to be done are pressed."""
    counts = {state: count for state, count in found.counts().items() if count}
    left = counts.keys() - {goal(settings)} or counts.keys()
    return "".join(
        f'<button type="button" aria-pressed="{str(state in left).lower()}" data-state="{STATES.index(state)}" '
        f'style="--of-state:var(--state-{STATES.index(state)})"><i></i>{state} <b>{count:,}</b></button>'
        for state, count in counts.items()
    )


def _progress(found: Survey) -> str:
    if not found.runs:
        return '<p class="note">No run is recorded yet.</p>'
    last = found.runs[-1].tiles
    label = f"Progress over time; at the end {', '.join(f'{count:,} {state}' for state, count in last.items())}"
    keys = "".join(
        f'<span style="--of-state:var(--state-{STATES.index(state)})"><i></i>{name}</span>' for _, state, name in CURVES
    )
    with style(_POINTS):
        chart = svg(timeline(found.runs, len(found.tiles)), escape(label))
    return f'<p class="keys">{keys}</p>{chart}'


def _products(found: Survey) -> str:
    states = [state for state in STATES if any(one.counts.get(state) for one in found.products)]
    rows = [
        [one.product, *(_count(one.counts.get(state, 0)) for state in states), size(one.bytes), size(one.held)]
        for one in found.products
    ]
    there, held = (sum(getattr(one, name) for one in found.products) for name in ("bytes", "held"))
    totals = ["All", *("" for _ in states), size(there), size(held)]
    return _table(["Product", *map(str.capitalize, states), "Size at the source", "Size here"], rows, totals)


def _runs(found: Survey) -> str:
    if not found.runs:
        return '<p class="note">No run is recorded yet.</p>'
    rows = [
        [
            f"{run.begin:%Y-%m-%d %H:%M}",
            f"{run.verb} {run.shard}".rstrip(),
            run.outcome(),
            span(run.seconds),
            size(_fetched(run)) if _fetched(run) else "",
            f"{size(_fetched(run) / run.seconds)}/s" if _fetched(run) else "",
        ]
        for run in reversed(found.runs[-_RUNS:])
    ]
    table = _table(["Began (UTC)", "Run", "What came of it", "Took", "Fetched", "Rate"], rows, texts=3)
    return f"<p>{_outlook(found)}</p>{table}"


def _outlook(found: Survey) -> str:
    """Say what was fetched, how fast, and how long the rest takes at the rate of the last runs; empty if none did."""
    fetching = [run for run in found.runs if _fetched(run)]
    if not fetching:
        return ""
    total, recent = sum(map(_fetched, fetching)), fetching[-_RUNS:]
    rate = sum(map(_fetched, recent)) / sum(run.seconds for run in recent)
    text = f"{size(total)} fetched in {some(len(fetching), 'run')}, lately at {size(rate)} per second."
    left = sum(one.bytes for one in found.tiles if one.state in (AT_SOURCE, NEWER, DAMAGED, FAILED))
    return f"{text} Up to {size(left)} are left to fetch: {span(left / rate)} at that rate." if left else text


def _fetched(run: Run) -> int:
    return run.result.get("bytes", 0) if run.verb == "download" else 0


def _count(count: int) -> str:
    return f"{count:,}" if count else "—"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], totals: Sequence[str] = (), texts: int = 1) -> str:
    """Write a table, of which that many columns are text and the others numbers."""

    def line(cells: Sequence[str], kind: str) -> str:
        numbers = [f'<{kind} class="number">{escape(cell)}</{kind}>' for cell in cells[texts:]]
        words = [f"<{kind}>{escape(cell)}</{kind}>" for cell in cells[1:texts]]
        return f"<tr><th>{escape(cells[0])}</th>{''.join(words + numbers)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    foot = f"<tfoot>{line(totals, 'td')}</tfoot>" if totals else ""
    return f'<div class="wide"><table><thead>{line(heads, "th")}</thead><tbody>{body}</tbody>{foot}</table></div>'
