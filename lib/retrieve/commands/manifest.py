"""`manifest`: write down what is here, from where and of when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, show
from retrieve.settings import Settings
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.manifest import Manifest, ecsv, list_held, sums, table_of
from retrieve.wording import size, some

if TYPE_CHECKING:
    from astropy.table import Table

#: The files that are written: the table, and what `md5sum` reads.
FILE, SUMS = Path("manifest.ecsv"), Path("MD5SUMS")


def main(settings: Settings) -> int:
    """Write the table and the sums; exit status 0 whatever is here. No network is needed."""
    found, table = _look(settings)
    write_whole(FILE, ecsv(table))
    write_whole(SUMS, "".join(sums(found, settings.archives)))
    return _tell(found, table.meta, "", settings)


def foretell(settings: Settings) -> int:
    """Say what they would hold."""
    found, table = _look(settings)
    return _tell(found, table.meta, ", to be written", settings)


def _look(settings: Settings) -> tuple[Manifest, Table]:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not (stamps.count(DOWNLOADED) or stamps.count(EXTRACTED)):
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    found = list_held(settings, stamps)
    return found, table_of(found, settings)


def _tell(found: Manifest, meta: dict[str, Any], remark: str, settings: Settings) -> int:
    counts = {name: meta[name] for name in ("tiles", "archives", "bytes")}
    held = f"{some(counts['archives'], 'archive')} of {settings.counted(counts['tiles'])}, {size(counts['bytes'])}"
    here = len(found.rows) - len(found.freed)
    show(
        settings,
        [f"{FILE}{remark}: {held}", f"{SUMS}{remark}: {some(here, 'archive')}, for 'md5sum -c {SUMS}'"],
        {"file": str(FILE), **counts, "sums": str(SUMS), "here": here, "left out": found.left_out},
    )
    if found.left_out:
        what = "is not as it was" if len(found.left_out) == 1 else "are not as they were"
        complain(f"{some(len(found.left_out), 'archive')} left out that {what} verified; run 'make download'")
    return 0
