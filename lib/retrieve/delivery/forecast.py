"""Forecast: what a download would fetch, and the room that it needs on the disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from retrieve.decisions import Decision
from retrieve.delivery.part import part_path
from retrieve.delivery.plan import TilePlan
from retrieve.host.disk import local_file
from retrieve.products import ProductSet
from retrieve.wording import size, some, table

#: Bytes that most file systems give a file at a time.
_BLOCK = 4096


@dataclass(frozen=True)
class Outlook:
    """What some plans come to.

    Attributes
    ----------
    tiles
        Number of tiles, or exposures.
    unit
        What one of them is called.
    fetch, bytes
        By product: number of archives to fetch, and their bytes.
    keep
        Number of archives of these tiles that are here already.
    need
        Bytes that the disk must have free: what is fetched, less what it replaces or goes on from.
    files
        Number of files that come in addition to those that are here.
    """

    tiles: int
    unit: str
    fetch: Counter[str]
    bytes: Counter[str]
    keep: int
    need: int
    files: int

    def summary(self) -> str:
        """Write it in a line."""
        return (
            f"{some(self.fetch.total(), 'archive')} of {some(self.tiles, self.unit)} to fetch, "
            f"{size(self.bytes.total())}; {self.keep} of them are here"
        )

    def table(self) -> list[str]:
        """Write it by product."""
        return table((name, str(count), size(self.bytes[name])) for name, count in self.fetch.items())


def look_ahead(plans: list[TilePlan], products: ProductSet, directory: Path, jobs: int) -> Outlook:
    """Add up what is to be fetched; an archive that has to be hashed first counts as here.

    Parameters
    ----------
    jobs
        How many are fetched at once: of what they replace, so many are still there beside the new ones.
    """
    match = products.matcher().fullmatch
    names = [product.name for product in products]
    fetch, sizes = Counter(dict.fromkeys(names, 0)), Counter(dict.fromkeys(names, 0))
    keep = need = files = 0
    replaced = []
    for plan in plans:
        for archive in plan.stamp.archives:
            if plan.decisions[archive.name] is not Decision.FETCH:
                keep += 1
                continue
            found = match(archive.name)
            name = names[found.lastindex - 1] if found and found.lastindex else archive.name
            fetch[name] += 1
            sizes[name] += archive.bytes
            old, part = (local_file(path) for path in (directory / archive.name, part_path(directory, archive)))
            files += old is None and part is None
            need += _on_disk(archive.bytes) - _on_disk(part.bytes if part else 0)
            if old:
                replaced.append(_on_disk(old.bytes))
    need += sum(nlargest(jobs, replaced)) - sum(replaced)
    return Outlook(len(plans), products.unit.name, fetch, sizes, keep, max(need, 0), files)


def _on_disk(count: int) -> int:
    """Bytes that a file takes up, since it ends within a block."""
    return -(-count // _BLOCK) * _BLOCK
