"""Asking: choose the fastest way to ask for the archives of some tiles; each way finds what a whole listing would."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retrieve.host.messages import remark
from retrieve.products import ProductSet
from retrieve.settings import STREAMS, Settings
from retrieve.source.container import Container, Range, Wanted, Way
from retrieve.tiles import JOIN
from retrieve.wording import some

#: Assumed number of nodes in a container that was never listed whole.
_UNKNOWN = 100_000
#: A container of no more nodes than the first figure is listed whole. To find out, a listing is tried up to half the
#: number of archives asked for, but never beyond the second figure.
_FEW, _MANY = 100, 500
#: Between two listings a container may grow by this factor.
_GROWTH = 4
#: Tiles that share the first half of their number, on average in the survey's list of the r band.
_COLUMN = 24
#: Exposures that CFHT took for each one of the survey.
_OTHERS = 50
#: Processor time in seconds that we need for a node of a listing, and for a request.
_PER_NODE, _PER_REQUEST = 20e-6, 1.5e-3
#: Seconds that the kilobyte of a node takes at 10 MB/s: unwanted nodes take up the line.
_ON_THE_WAY = 100e-6
#: A gap of so many tiles between two wanted ones may begin a new range: less than a column, or several columns.
_GAPS = (10, 100)
#: Assumed seconds per node of a service with pages, and of one without.
_PAGED, _UNPAGED = 0.0, 10e-3
#: A whole listing tells more, so another way must be faster by this factor.
_WORTH = 3.0


@dataclass(frozen=True)
class Costs:
    """Facts about a container by which the ways to ask it are compared.

    Attributes
    ----------
    ways
        The ways that it offers.
    nodes
        Number of nodes in it.
    per_node
        Seconds that it needs per node of a listing.
    latency
        Seconds that it needs per request.
    page
        Nodes in a page of a listing.
    jobs
        Largest number of requests at once.
    """

    ways: tuple[Way, ...]
    nodes: int
    per_node: float
    latency: float
    page: int
    jobs: int


def cheapest(costs: Costs, names: int, ranges: Sequence[int]) -> dict[Way, float]:
    """Estimate how long each way takes to ask for some archives, in seconds; the best comes first.

    ==================  ==============================================================
    way                 requests, one after the other; and nodes
    ==================  ==============================================================
    whole               those of all its pages; all nodes
    by ranges           those of the longest range; nodes of all, some ranges at a time
    by name             names / jobs; none but these
    ==================  ==============================================================

    Parameters
    ----------
    names
        Number of archives that are asked for.
    ranges
        Estimated number of nodes in each range.
    """

    def seconds(way: Way) -> float:
        if way is Way.NAMES:
            return names * (costs.latency / min(costs.jobs, names) + _PER_REQUEST)
        if way is Way.RANGES:
            at_once = min(costs.jobs, len(ranges))
            nodes, in_a_row = min(sum(ranges), costs.nodes), math.ceil(len(ranges) / costs.jobs)
            pages = in_a_row * math.ceil(max(ranges) / costs.page)
        else:
            at_once, nodes, pages = 1, costs.nodes, math.ceil(costs.nodes / costs.page)
        server = max(costs.per_node - _PER_NODE, 0.0) / at_once
        return pages * (costs.latency + at_once * _PER_REQUEST) + nodes * (_PER_NODE + server)

    takes = {way: seconds(way) for way in costs.ways}
    return dict(sorted(takes.items(), key=lambda one: one[1] * (1.0 if one[0] is Way.WHOLE else _WORTH)))


def ask_for(
    tiles: Sequence[str] | None,
    container: Container,
    products: ProductSet,
    known: tuple[int, float],
    settings: Settings,
) -> Wanted:
    """Say what is wanted of a container.

    Parameters
    ----------
    tiles
        Tile numbers; None for every tile there.
    known
        Nodes in the container and seconds per node at the last whole listing; 0 where unknown.
    """
    matches = products.loose().matcher().fullmatch
    if tiles is None or container.ways == (Way.WHOLE,):
        return Wanted(matches)
    tiles = sorted(tiles)
    if not tiles:
        return Wanted(matches, choose=lambda *_: (Way.NAMES, ()))
    names = [product.archive(tile) for tile in tiles for product in products]
    # Where a job's name sorts among those of single tiles depends on the service.
    ways = tuple(one for one in container.ways if one is not Way.RANGES or not any(JOIN in tile for tile in tiles))
    divisions = (
        [ranges_of(tiles, products, settings.jobs or STREAMS, gap) for gap in _GAPS] if Way.RANGES in ways else [[]]
    )
    known_nodes, known_seconds = known
    few = min(max(_FEW, len(names) // 2), _MANY)

    def choose(latency: float, per_node: float | None) -> tuple[Way, Sequence[Range]]:
        # A list of half a page or more probably covers most of the container.
        unknown = len(names) if len(names) > settings.page // 2 else _UNKNOWN
        # With so few known, the trial has shown that there are more by now.
        there = known_nodes if known_nodes > few else unknown
        usual = _PAGED if Way.RANGES in container.ways else _UNPAGED
        a_node = known_seconds or usual if per_node is None else per_node
        costs = Costs(ways, there, a_node, latency, settings.page, settings.jobs or STREAMS)

        def price(ranges: Sequence[Range]) -> float:
            nodes = [one.nodes for one in ranges]
            return cheapest(costs, len(names), nodes).get(Way.RANGES, 0.0) + _ON_THE_WAY * sum(nodes)

        ranges = min(divisions, key=price)
        takes = cheapest(costs, len(names), [one.nodes for one in ranges])
        if settings.v:
            expected = ", ".join(f"{way.value} {seconds:.2g} s" for way, seconds in takes.items())
            remark(settings, f"to ask '{container.uri}' for {some(len(names), 'archive')} should take: {expected}")
        return next(iter(takes)), ranges

    # A small container may have grown since, but hardly to the size of a survey.
    trial = 0 if known_nodes > few else max(few, _GROWTH * known_nodes)
    return Wanted(matches, names, trial, choose)


def ranges_of(tiles: Sequence[str], products: ProductSet, jobs: int, gap: float) -> list[Range]:
    """Divide the names of the archives into ranges, where more than `gap` tiles are between two that are wanted."""
    groups = list(_groups(tiles, gap))
    # At least one for each of the jobs: the pages of one range can only be asked for one after the other.
    parts = math.ceil(jobs / (len(groups) * len(products)))
    groups = [part for group in groups for part in _divide(group, parts)]
    return [
        Range(product.archive(group[0]), product.archive(group[-1]), product.matcher(), _nodes_in(group))
        for product in products
        for group in groups
    ]


def _groups(tiles: Sequence[str], gap: float) -> Iterator[Sequence[str]]:
    """Divide tiles where there are many others between two of them."""
    begin = 0
    for place in range(1, len(tiles) + 1):
        if place == len(tiles) or _between(tiles[place - 1], tiles[place]) > gap:
            yield tiles[begin:place]
            begin = place


def _divide(tiles: Sequence[str], parts: int) -> Iterator[Sequence[str]]:
    """Divide tiles into a number of parts, of at least a column each."""
    size = max(math.ceil(len(tiles) / parts), _COLUMN)
    for begin in range(0, len(tiles), size):
        yield tiles[begin : begin + size]


def _nodes_in(group: Sequence[str]) -> int:
    """Estimate how many tiles there are from the first to the last of some."""
    return max(1 + _between(group[0], group[-1]), len(group))


def _between(first: str, last: str) -> int:
    """Estimate how many tiles there are from one tile number to another, or exposures."""
    if first.isdigit():
        return (int(last) - int(first)) // _OTHERS
    columns = int(last[:3]) - int(first[:3])
    return columns * _COLUMN if columns else int(last[4:]) - int(first[4:])
