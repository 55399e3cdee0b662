"""Which way a container is asked, and that each way finds what a whole listing does, whatever the order of names."""

from __future__ import annotations

import itertools
import string
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieve.archives import Archive
from retrieve.availability.asking import Costs, ask_for, cheapest, ranges_of
from retrieve.products import Product, product_set
from retrieve.settings import Settings
from retrieve.source.container import Listing, Range, Wanted, Way
from retrieve.source.listing import Lister, PartsError
from retrieve.source.nodes import name_of
from retrieve.source.pages import Page

WHOLE, RANGES, NAMES = Way.WHOLE, Way.RANGES, Way.NAMES
VAULT, CAVERN = (WHOLE, NAMES, RANGES), (WHOLE, NAMES)
#: A container of a survey, of which a node takes 0.1 ms on Vault and 12 ms on Cavern, over a network of 50 ms.
ON_VAULT = Costs(VAULT, nodes=88_347, per_node=1e-4, latency=0.05, page=10_000, jobs=8)
ON_CAVERN = replace(ON_VAULT, ways=CAVERN, per_node=12e-3)


@pytest.mark.parametrize(
    ("costs", "names", "ranges", "way"),
    [
        # One tile; twenty that are neighbours; twenty all over the sky; a patch; everything; one product of everything.
        (ON_VAULT, 7, [1] * 7, NAMES),
        (ON_VAULT, 140, [20] * 7, RANGES),
        (ON_VAULT, 140, [1] * 140, NAMES),
        (ON_VAULT, 1498, [400] * 14, RANGES),
        (ON_VAULT, 88_347, [12_621] * 7, RANGES),
        (ON_VAULT, 12_621, [1_600] * 8, RANGES),
        # Where few others are, or the service takes no time for a node, nothing is gained.
        (replace(ON_VAULT, nodes=300), 1498, [400] * 14, WHOLE),
        (replace(ON_VAULT, per_node=0.0, latency=0.001), 88_347, [12_621] * 7, WHOLE),
        (ON_CAVERN, 140, [20] * 7, NAMES),
        (ON_CAVERN, 1498, [400] * 14, NAMES),
        (replace(ON_CAVERN, nodes=300), 1498, [400] * 14, WHOLE),
        (replace(ON_CAVERN, jobs=1), 88_347, [12_621] * 7, WHOLE),
        (replace(ON_CAVERN, ways=(WHOLE,)), 7, [1] * 7, WHOLE),
    ],
)
def test_the_cheapest_way_is_chosen(costs: Costs, names: int, ranges: list[int], way: Way) -> None:
    assert next(iter(cheapest(costs, names, ranges))) is way


@pytest.mark.parametrize(
    ("columns", "rows", "latency", "expected"),
    [
        # A patch: a range for each column, or one for all where a request takes as long as some hundred nodes.
        (range(200, 250), range(280, 284), 1e-4, 50 * 2),
        (range(200, 250), range(280, 284), 0.05, 2 * 2),
        # Whole columns, far from one another or not: nothing is gained by dividing them.
        (range(200, 300, 50), range(280, 304), 0.05, 2 * 2),
        (range(200, 250), range(270, 300), 1e-4, 2 * 2),
    ],
)
def test_names_are_divided_where_that_costs_least(columns: range, rows: range, latency: float, expected: int) -> None:
    asked = [f"{column}.{row}" for column in columns for row in rows]
    wanted = ask_for(asked, Store(by_bytes, set()), PRODUCTS, (88_347, 1e-4), SETTINGS)
    _, ranges = wanted.choose(latency, None)
    assert len(ranges) == expected
    for product in PRODUCTS:
        names = sorted(map(product.archive, asked))
        ours = [one for one in ranges if one.names.fullmatch(names[0])]
        assert all(any(one.first <= name <= one.last for one in ours) for name in names)


def by_bytes(name: str) -> object:
    """Order of the C locale."""
    return name


def letters_first(name: str) -> object:
    """Letters before digits before punctuation, whatever their case; that decides last."""
    kinds = [(0 if one.isalpha() else 1 if one.isdigit() else 2, one.lower()) for one in name]
    return kinds, name


def passing_over_punctuation(name: str) -> object:
    """As en_US: punctuation decides only between names that are the same without it."""
    return [one.lower() for one in name if one.isalnum()], name


def reversed_punctuation(name: str) -> object:
    """Byte order, but the last punctuation mark comes first."""
    turned = dict(zip(string.punctuation, reversed(string.punctuation), strict=True))
    return [turned.get(one, one) for one in name]


ORDERS = [by_bytes, letters_first, passing_over_punctuation, reversed_punctuation]


@dataclass
class Store:
    """A container in memory, whose names come in some order, at most `cap` at a time."""

    order: Callable[[str], object]
    names: set[str]
    cap: int = 1000
    #: What is not there at every other request.
    coming_and_going: set[str] = field(default_factory=set)
    uri: str = "vos://cadc.nrc.ca~vault/results"
    ways: tuple[Way, ...] = VAULT
    ignores_begin: bool = False

    def __post_init__(self) -> None:
        self._requests = itertools.count()

    def _now(self) -> set[str]:
        return self.names if next(self._requests) % 2 else self.names - self.coming_and_going

    def page(
        self, begin: str, limit: int, matches: Callable[[str], object], seen: Callable[[int], None], after: str
    ) -> Page:
        """Answer as Vault does."""
        names = sorted(self._now(), key=self.order)
        if begin and not self.ignores_begin:
            names = names[bisect_left(names, self.order(name_of(begin)), key=self.order) :]
        names = names[: min(limit, self.cap)]
        uris = [f"{self.uri}/{quote(name)}" for name in names]
        page = Page(uris[0] if uris else "", uris[-1] if uris else "", len(names))
        page.archives = [archive(name) for name, uri in zip(names, uris, strict=True) if matches(name) and uri != after]
        seen(page.count)
        return page

    def look(self, name: str) -> Page:
        """Answer for one node."""
        return Page("", "", 1, [archive(name)]) if name in self._now() else Page()

    def list(self, wanted: Wanted) -> Listing:
        """List what is wanted."""
        return Lister(self.page, self.look, self.uri, 50, 4).list(wanted, 0.01, lambda _: None)


def archive(name: str) -> Archive:
    return Archive(name, 1, None, "2021-08-05T11:25:32.123")


PRODUCTS = product_set("mccd", "Final_cat_{tile}.Tgz logs_{tile}.tgz")
SETTINGS = Settings.parse(["JOBS=4"])
tiles = st.tuples(st.integers(180, 190), st.integers(300, 310)).map(lambda one: f"{one[0]}.{one[1]}")
wanted_names = st.tuples(tiles, st.sampled_from(list(PRODUCTS))).map(lambda one: one[1].archive(one[0]))
#: Names that are like those of archives, but for a mark, a case or a digit, and others.
odd_names = st.one_of(
    st.tuples(wanted_names, st.integers(0, 20), st.sampled_from("-_.~+ AaZz09%")).map(
        lambda one: one[0][: one[1]] + one[2] + one[0][one[1] + 1 :]
    ),
    wanted_names.map(str.upper),
    wanted_names.map(lambda name: name + ".part"),
    st.text("fFinal_-ct.123 lgs", min_size=1, max_size=12),
)


@given(
    order=st.sampled_from(ORDERS),
    there=st.sets(st.one_of(wanted_names, odd_names), max_size=80),
    moving=st.sets(st.one_of(wanted_names, odd_names), max_size=6),
    asked=st.sets(tiles, min_size=1, max_size=30),
    cap=st.integers(2, 8),
    way=st.sampled_from([RANGES, NAMES]),
    gap=st.integers(0, 30),
)
@settings(deadline=None, max_examples=100)
def test_each_way_finds_what_a_whole_listing_finds(
    order: Callable[[str], object], there: set[str], moving: set[str], asked: set[str], cap: int, way: Way, gap: int
) -> None:
    store = Store(order, there | moving, cap, moving - there)
    ranges = ranges_of(sorted(asked), PRODUCTS, 4, gap)
    wanted = replace(ask_for(asked, store, PRODUCTS, (10_000, 1e-3), SETTINGS), choose=lambda *_: (way, ranges))
    ours = {product.archive(tile) for tile in asked for product in PRODUCTS}
    try:
        found = store.list(wanted).archives.keys() & ours
    except PartsError:
        # The node with which the next page was to begin went; the container is listed whole then.
        assert store.coming_and_going
        return
    # What was there throughout is found, and what never was is not.
    assert there & ours <= found <= (there | moving) & ours


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("product", list(PRODUCTS), ids=lambda one: one.name)
def test_nothing_of_a_range_comes_after_what_is_past_it(order: Callable[[str], object], product: Product) -> None:
    """Whatever name a service gives: here those of archives in which one character is another one."""
    near = [product.archive(tile) for tile in ("181.301", "181.302", "182.301", "182.302")]
    for first, ours, last in itertools.combinations_with_replacement(near, 3):
        within = Range(first, last, product.matcher(), 1)
        for name, place, mark in itertools.product(near, range(len(near[0])), "-~AaZz0"):
            other = name[:place] + mark + name[place + 1 :]
            if within.is_past(other) and order(other) >= order(first):
                assert order(ours) < order(other), other


def test_a_service_that_does_not_begin_where_it_is_asked_to_is_found_out() -> None:
    store = Store(by_bytes, {f"logs_180.30{digit}.tgz" for digit in range(9)}, ignores_begin=True)
    ranges = ranges_of(["180.305"], PRODUCTS, 4, 0)
    wanted = replace(
        ask_for({"180.305"}, store, PRODUCTS, (10_000, 1e-3), SETTINGS), choose=lambda *_: (RANGES, ranges)
    )
    with pytest.raises(PartsError, match="its names do not come in order"):
        store.list(wanted)


def test_a_container_of_few_nodes_is_listed_whole_and_one_of_many_never_twice() -> None:
    store = Store(by_bytes, {f"other_{number:03}" for number in range(100)})
    listing = store.list(ask_for({"180.305"}, store, PRODUCTS, (0, 0.0), SETTINGS))
    assert (listing.way, listing.nodes, listing.others) == (WHOLE, 100, 0)
    store.names.add("one more")
    assert store.list(ask_for({"180.305"}, store, PRODUCTS, (0, 0.0), SETTINGS)).way is not WHOLE
