"""Comparison: whether the archives here are those of another place, which a directory or a list of MD5s tells."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

from retrieve.errors import RetrieveError, SettingError
from retrieve.formats.sums import parse_sums
from retrieve.host.disk import md5_of, scan
from retrieve.output.verification import DIFFERENT, ERROR, GONE, SAME, UNKNOWN, Finding, new_seed, sample
from retrieve.settings import Settings

#: Lists that may lie beside the archives without being some.
_LISTS = ("manifest.ecsv", "MD5SUMS")


class Known(NamedTuple):
    """What is known of an archive somewhere: its bytes, its MD5, or where it can be read."""

    bytes: int | None = None
    md5: str | None = None
    path: Path | None = None


class Pair(NamedTuple):
    """An archive as it is here and there; None where it is not. Its path here, also if there is none."""

    path: Path
    here: Known | None
    there: Known | None


def pairs_of(settings: Settings) -> list[Pair]:
    """Pair the archives in ARCHIVES with those of AGAINST, by their names: the directories before these do not count.

    With SAMPLE or SHARD, only some of them.

    Raises
    ------
    RetrieveError
        If either place cannot be read, or there is nothing to compare.
    """
    archives, against = settings.archives, Path(settings.against)
    if not archives.is_dir():
        raise RetrieveError(f"there is no directory '{archives}'; give ARCHIVES the one to compare")
    if against.is_dir():
        if against.samefile(archives):
            raise SettingError(f"bad value AGAINST='{against}'; give another directory than ARCHIVES")
        here, there = _in_directory(archives), _in_directory(against)
    else:
        here, there = _in_directory(archives, against), _in_list(against)
    names = sorted(here.keys() | there.keys())
    if not names:
        raise RetrieveError(f"no archives in '{archives}' nor in '{against}'; give ARCHIVES and AGAINST other places")
    if shard := settings.shard:
        names = [name for name in names if zlib.crc32(name.encode()) % shard.count == shard.number - 1]
    names = sample(names, settings.sample, new_seed())
    return [Pair(archives / name, here.get(name), there.get(name)) for name in names]


def _in_directory(directory: Path, against: Path | None = None) -> dict[str, Known]:
    """Look at the files of a directory that may be archives; the list to compare with is none."""

    def wanted(name: str) -> bool:
        return not (name.startswith(".") or name.endswith(".part") or name in _LISTS)

    found = {name: Known(one.bytes, path=directory / name) for name, one in scan(directory, wanted).items()}
    if against and against.resolve().parent == directory.resolve():
        found.pop(against.name, None)
    return found


def _in_list(path: Path) -> dict[str, Known]:
    """Read a manifest or a list of `md5sum`."""
    found: dict[str, Known] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        lines = _manifest(text) if text.startswith("# %ECSV") else [(n, Known(md5=md5)) for n, md5 in parse_sums(text)]
        if not lines:
            raise ValueError("it names no file")
        for name, known in lines:
            if found.setdefault(Path(name).name, known) != known:
                raise ValueError(f"it names '{Path(name).name}' twice, with another MD5")
    except OSError as error:
        problem = str(error.strerror).lower()
    except ValueError as error:
        problem = str(error)
    else:
        return found
    raise RetrieveError(f"cannot read '{path}': {problem}; give AGAINST a manifest, an MD5SUMS or a directory")


def _manifest(text: str) -> list[tuple[str, Known]]:
    from astropy.table import Table

    try:
        table = Table.read(text.split("\n"), format="ascii.ecsv")
        columns = [table[name].tolist() for name in ("archive", "bytes", "md5")]
    except (ValueError, KeyError) as error:
        raise ValueError("it is no whole manifest") from error
    if len(table) != table.meta.get("archives", len(table)):
        raise ValueError(f"it has {len(table)} of its {table.meta['archives']} lines")
    return [(name, Known(size, md5)) for name, size, md5 in zip(*columns, strict=True)]


def compare(pair: Pair) -> Finding:
    """Compare an archive here with the same one there; both are read if both are files of the same length."""
    path, here, there = str(pair.path), pair.here, pair.there
    if here is None:
        return Finding(GONE, path, "it is not here", archive=True)
    if there is None:
        return Finding(UNKNOWN, path, "it is only here", archive=True)
    if there.bytes not in (None, here.bytes):
        return Finding(DIFFERENT, path, f"{here.bytes} bytes rather than {there.bytes}", archive=True)
    try:
        same = md5_of(pair.path) == (there.md5 or md5_of(there.path))
    except OSError as error:
        return Finding(ERROR, str(error.filename or path), str(error.strerror).lower(), archive=True)
    return Finding(SAME, path, archive=True) if same else Finding(DIFFERENT, path, "another MD5", archive=True)
