"""Forms: how tile numbers stand in the file names that a pattern stands for, as a listing shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from retrieve.errors import SourceError
from retrieve.products import Product, ProductSet
from retrieve.source.container import Listing
from retrieve.tiles import FORMS


def form_of(product: Product, names: Iterable[str]) -> str | None:
    """Find the form of the tile numbers in a listing's names of one product: 182.308 as it would stand there.

    None if it is in none of the names.

    Raises
    ------
    SourceError
        If two names are those of one tile, or have two forms.
    """
    match = product.matcher().fullmatch
    texts = {name: found[1] for name in names if (found := match(name))}
    tiles: dict[tuple[int, ...], str] = {}
    for name, text in texts.items():
        tile = tuple(int(half) for half in text.replace("-", ".").replace("_", ".").split("."))
        if tile in tiles:
            raise SourceError(f"'{tiles[tile]}' and '{name}' are both of one tile; leave one of them at the source")
        tiles[tile] = name
    fitting, told_by = list(FORMS), ""
    for name, text in texts.items():
        still = [form for form in fitting if re.fullmatch(FORMS[form].number, text)]
        if not still:
            raise SourceError(f"'{told_by}' and '{name}' have tile numbers in two forms; leave one at the source")
        if still != fitting:
            fitting, told_by = still, name
    # Where no number is short enough to tell, leading zeros are left out: so it is in the names of catalogues.
    return fitting[-1] if texts else None


def find_forms(own: ProductSet, listing: Listing, known: Mapping[str, str]) -> dict[str, str]:
    """Find the forms in a listing of one container, by pattern; those that are known hold where it shows none.

    Raises
    ------
    SourceError
        See `form_of`.
    """
    loose = [product for product in own.loose() if product.form is None]
    found = {product.pattern: form_of(product, listing.archives) or known.get(product.pattern) for product in loose}
    return {pattern: form for pattern, form in found.items() if form}
