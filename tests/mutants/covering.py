"""Which tests cover which modules: those of the same room, and others that drive a module; the fastest first.

Each is a file, or one test of it after two colons. A mutant that none of them kills is a survivor, although some other
test of the suite might fail. A module is entered here once its survivors are killed or explained.
"""

from __future__ import annotations


def _of(file: str, *tests: str) -> list[str]:
    return [f"{file}::{test}" for test in tests]


_BAD_DISK = _of(
    "delivery/test_local_faults.py",
    "test_a_disk_that_fails_leaves_nothing_that_is_not_on_it",
)

#: By module below `lib/retrieve`, in the order in which `make mutants` takes them.
COVERED_BY = {
    "decisions.py": ["words/test_decisions.py"],
    "delivery/transfer.py": ["delivery/test_transfer.py"],
    "delivery/part.py": ["delivery/test_part.py", "delivery/test_transfer.py", "host/test_on_disk.py", *_BAD_DISK],
    "stamps/stamps.py": ["stamps/test_stamps.py", "host/test_on_disk.py"],
    "stamps/lines.py": ["stamps/test_stamps.py"],
}
