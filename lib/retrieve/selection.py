"""Selection: which files of the archives are unpacked (ONLY)."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Selection:
    """Patterns as the shell has them; without any, it selects every file, and is false.

    Attributes
    ----------
    patterns
        Of names of files or, with a slash in it, of paths, with or without ``output/`` before.
    """

    patterns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __contains__(self, path: str) -> bool:
        return not self.patterns or any(
            fnmatchcase(path, one) or fnmatchcase(path.partition("/")[2], one)
            if "/" in one
            else fnmatchcase(path.rpartition("/")[2], one)
            for one in self.patterns
        )

    def __or__(self, other: Selection) -> Selection:
        return Selection(tuple(dict.fromkeys(self.patterns + other.patterns))) if self and other else Selection()

    def covers(self, other: Selection) -> bool:
        """Whether it selects all that another one does."""
        return not self or (bool(other) and set(other.patterns) <= set(self.patterns))


EVERYTHING = Selection()
