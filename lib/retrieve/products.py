"""What a tile consists of: PSF model -> products -> names of archives.

The only place that knows the products of ShapePipe's tile job, how their archives are named, and what
differs between the PSF models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from retrieve.errors import SettingError
from retrieve.tiles import EXPOSURE, FORMS, JOIN, TILE, USUAL, Form, Unit, dashed, tiles_of

_OF_EVERY_MODEL = ("final_cat", "pipeline_flag", "logs", "setools_mask", "setools_stat", "setools_plot")

#: The products of a tile by PSF model; a tile is complete when the archive of each of them is there.
PRODUCTS_OF: dict[str, tuple[str, ...]] = {
    "psfex": (*_OF_EVERY_MODEL, "psfex_interp_exp"),
    "mccd": (*_OF_EVERY_MODEL, "mccd_fit_val_runner"),
}

#: The files that ShapePipe's next step reads, a tile each (written there as 182-308): by product.
_EXPECTED = {"final_cat": "final_cat-{tile}.fits", "pipeline_flag": "pipeline_flag-{tile}.fits"}
#: Where it looks for them: by product, the run and its module.
LINKS: dict[str, tuple[str, str]] = {
    "final_cat": ("run_sp_combined", "make_catalog_runner"),
    "pipeline_flag": ("run_sp_combined_flag", "mask_runner"),
}

#: Stands for the tile number in a pattern of file names.
PLACE = TILE.place
#: What a pattern may begin with that names a container of its own.
_CONTAINER = re.compile("(vos|vault|arc):|/")


def archive_name(product: str, tile: str) -> str:
    """Name of the archive of one product of one tile, such as ``final_cat_182.308.tgz``."""
    return f"{product}_{tile}.tgz"


def expected_files(archive: str, tile: str) -> list[str]:
    """Names of the files for which a tile's archive, or a job's, is there: one for each tile; none if any will do."""
    for product, pattern in _EXPECTED.items():
        if archive == archive_name(product, tile):
            return [pattern.replace(PLACE, dashed(one)) for one in tiles_of(tile)]
    return []


@dataclass(frozen=True)
class Product:
    """One of the files that make a tile complete, or an exposure.

    Attributes
    ----------
    name
        The product's name, such as ``final_cat``; the pattern itself where the user gave patterns.
    pattern
        File name at the source, with the `place` of the unit where the number goes.
    form
        How tile numbers stand in the file names; None for any form of `FORMS`.
    of_jobs
        A file may be that of a job of several tiles.
    unit
        Whether it is of tiles or exposures.
    container
        Container that it is in; empty if it is in that of ``INPUT_PATH``.
    """

    name: str
    pattern: str
    form: Form | None = USUAL
    of_jobs: bool = False
    unit: Unit = TILE
    container: str = ""

    def archive(self, tile: str) -> str:
        """File name of this product for a tile number in the form ``182.308``, or an exposure number."""
        return self.pattern.replace(self.unit.place, (self.form or USUAL).write(tile))

    def matcher(self, *, of_jobs: bool = False) -> re.Pattern[str]:
        """Compile a pattern for ``fullmatch`` on a file name; group 1 is the tile number as it stands there.

        Parameters
        ----------
        of_jobs
            Whether a job's archives match, too: if there are any.
        """
        parts = map(re.escape, self.pattern.split(self.unit.place))
        if self.unit is EXPOSURE:
            number = "[0-9]{7}"
        else:
            number = self.form.number if self.form else f"(?:{'|'.join(form.number for form in FORMS.values())})"
        others = f"(?:{JOIN}{number})*" if of_jobs and self.of_jobs else ""
        return re.compile(f"({number}{others})".join(parts))


@dataclass(frozen=True)
class ProductSet:
    """The products that a run is about.

    Attributes
    ----------
    model
        The PSF model; ``files`` or ``exposures`` where the user gave file-name patterns; names the directory of stamps.
    products
        In the order in which a tile's stamp lists them.
    """

    model: str
    products: tuple[Product, ...]

    @property
    def unit(self) -> Unit:
        """Whether they are of tiles or exposures."""
        return self.products[0].unit

    def __iter__(self) -> Iterator[Product]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)

    def loose(self) -> ProductSet:
        """The same, for names of files with tile numbers in any form."""
        patterns = (one if one.of_jobs or one.unit is EXPOSURE else replace(one, form=None) for one in self)
        return replace(self, products=tuple(patterns))

    def number(self, found: re.Match[str]) -> str:
        """Give the tile number, or exposure number, of a name that `matcher` matched."""
        place = found.lastindex or 0
        form = self.products[place - 1].form or USUAL
        return found[place] if form is USUAL else form.read(found[place])

    def source(self, name: str, usual: str) -> str:
        """URI of the container that an archive comes from: that of its product, or else the usual one of its tile."""
        if not any(one.container for one in self):
            return usual
        found = self.matcher().fullmatch(name)
        return (found and found.lastindex and self.products[found.lastindex - 1].container) or usual

    def matcher(self) -> re.Pattern[str]:
        """Compile a pattern for ``fullmatch`` on a file name, be it of a tile or of a job.

        Group number *i*, counted from 1, holds the tile number as it stands in the name, if the name belongs to product
        *i - 1*; ``match.lastindex`` tells which.
        """
        return re.compile("|".join(product.matcher(of_jobs=True).pattern for product in self))


def product_set(psf: str, selection: str, forms: Mapping[str, str] = MappingProxyType({})) -> ProductSet:
    """Work out the products of a run from its settings.

    Parameters
    ----------
    psf
        The PSF model, ``psfex`` or ``mccd``.
    selection
        Empty for all products of the model; else some of their names, or file-name patterns with ``{tile}`` or
        ``{exposure}``, each with its container before it or not, separated by white space.
    forms
        By file-name pattern: 182.308 in the form in which tile numbers stand there; see `FORMS`.

    Raises
    ------
    SettingError
        If a product is unknown, or names and patterns are mixed.
    """
    words = tuple(dict.fromkeys(selection.split()))
    patterns = [word for word in words if "{" in word or "}" in word]
    if patterns:
        return _pattern_set(words, forms)
    known = PRODUCTS_OF[psf]
    for word in words:
        if word not in known:
            raise SettingError(
                f"unknown product '{word}' of PSF model '{psf}'; give PRODUCTS some of {' '.join(known)}, "
                f"or file-name patterns with {PLACE}"
            )
    chosen = tuple(name for name in known if not words or name in words)
    return ProductSet(psf, tuple(Product(name, archive_name(name, PLACE), of_jobs=True) for name in chosen))


def linked_products(selection: str) -> list[str]:
    """Give the products whose files `link` links: those that ``PRODUCTS`` selects, or only the first if it is empty.

    Raises
    ------
    SettingError
        If it selects none of them.
    """
    linked = [name for name in LINKS if name in selection.split()] if selection else [*LINKS][:1]
    if not linked:
        raise SettingError(f"nothing of PRODUCTS='{selection}' can be linked; give {' or '.join(LINKS)}")
    return linked


def named_files(products: ProductSet, extension: str) -> ProductSet:
    """Give the same products as ShapePipe names their files, such as ``final_cat-182-308.fits``."""
    return ProductSet(
        "files", tuple(Product(one.name, f"{one.name}-{PLACE}.{extension}", form=FORMS["182-308"]) for one in products)
    )


def _pattern_set(words: tuple[str, ...], forms: Mapping[str, str]) -> ProductSet:
    unit = EXPOSURE if EXPOSURE.place in "".join(words) else TILE
    products: dict[str, Product] = {}
    for word in words:
        container, slash, name = word.rpartition("/")
        if (
            name.count(unit.place) != 1
            or word.replace(unit.place, "").count("{")
            or (slash and not _CONTAINER.match(word))
        ):
            raise SettingError(
                f"bad file-name pattern '{word}' in PRODUCTS; each needs {unit.place} exactly once, no '/' but "
                "after its container, vos:… or a directory from / on, and patterns and product names do not mix"
            )
        if name in products:
            raise SettingError(f"'{name}' is twice in PRODUCTS; files of one name must be from one container")
        form = FORMS.get(forms.get(name, ""), USUAL)
        products[name] = Product(name, name, form, unit=unit, container=container)
    return ProductSet("files" if unit is TILE else "exposures", tuple(products.values()))
