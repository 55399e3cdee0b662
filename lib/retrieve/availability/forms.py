"""Forms: how tile numbers are written in file names, found out from listings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from retrieve.errors import SourceError
from retrieve.products import Product, ProductSet
from retrieve.source.container import Listing
from retrieve.tiles import FORMS


def numbers_in(product: Product, names: Iterable[str]) -> dict[str, str]:
    """Give the tile numbers in one container's names of a product, by name and as written there.

    Raises
    ------
    SourceError
        If two names belong to the same tile.
    """
    match = product.matcher().fullmatch
    numbers = {name: found[1] for name in names if (found := match(name))}
    tiles: dict[tuple[int, ...], str] = {}
    for name, number in numbers.items():
        other = tiles.setdefault(tuple(map(int, re.split("[._-]", number))), name)
        if other != name:
            raise SourceError(f"'{other}' and '{name}' are both of one tile; leave one of them at the source")
    return numbers


def form_of(numbers: Iterable[str], known: str | None = None) -> str | None:
    """Find the form that most of some tile numbers have, given as 182.308 in that form; without any, the known form.

    Among equally frequent forms the known one wins, otherwise the first. So where no number is short enough to tell,
    leading zeros are left out, as they are in calexp-CFIS_7_92.fits.
    """
    numbers = list(numbers)
    count = {form: sum(bool(re.fullmatch(one.number, number)) for number in numbers) for form, one in FORMS.items()}
    return max(count, key=lambda form: (count[form], form == known)) if numbers else known


def find_forms(
    listed: Iterable[tuple[ProductSet, Listing]], known: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Find the form of each pattern in the listings of some containers; where they show none, the known form holds.

    The second value holds a message for each name whose form differs from most of its product.

    Raises
    ------
    SourceError
        See `numbers_in`.
    """
    found: dict[str, dict[str, str]] = {}
    for own, listing in listed:
        for product in own.loose():
            if product.form is None:
                found.setdefault(product.pattern, {}).update(numbers_in(product, listing.archives))
    forms = {pattern: form_of(numbers.values(), known.get(pattern)) for pattern, numbers in found.items()}
    strays = [
        f"'{name}' does not count: most such names have a number like {forms[pattern]}"
        for pattern, numbers in found.items()
        for name, number in sorted(numbers.items())
        if not re.fullmatch(FORMS[forms[pattern]].number, number)
    ]
    return {pattern: form for pattern, form in forms.items() if form}, strays
