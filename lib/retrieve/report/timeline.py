"""Progress over time: how many tiles were complete at the source, here and unpacked when each run ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retrieve.report.drawing import MUTED, OF_STATE, RULE
from retrieve.stamps.runs import Run
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED
from retrieve.standing.survey import AT_SOURCE, HERE, UNPACKED

#: The curves, larger ones first so that they lie behind: stamps, the state that gives the colour, and the label.
CURVES = (
    (AVAILABLE, AT_SOURCE, "complete at the source"),
    (DOWNLOADED, HERE, "here"),
    (EXTRACTED, UNPACKED, "unpacked"),
)


def timeline(runs: Sequence[Run], total: int) -> Figure:
    """Draw the progress of some runs, at least one, towards a total number of tiles."""
    # Of a campaign of thousands of runs, those that changed something.
    kept = [next(same) for _, same in groupby(runs, lambda run: run.tiles)]
    ends = [kept[0].begin, *(run.end for run in kept[1:]), runs[-1].end]
    figure = Figure((7, 2.9))
    axes = figure.add_axes((0.11, 0.17, 0.87, 0.79))
    for stamps, state, _ in CURVES:
        counts = [run.tiles.get(stamps, 0) for run in (*kept, runs[-1])]
        axes.fill_between(ends, counts, step="post", color=OF_STATE[state], linewidth=0)
        axes.step(ends, counts, where="post", color=OF_STATE[state], linewidth=1.5)
    axes.set_ylim(0, 1.05 * max(total, *(run.tiles.get(AVAILABLE, 0) for run in kept)))
    axes.axhline(total, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlim(ends[0], max(ends[-1], ends[0] + timedelta(seconds=1)))
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    return figure
