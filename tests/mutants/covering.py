"""Which tests cover which modules: those of the same room, and others that drive a module; the fastest first.

Each is a file, or one test of it after two colons. A mutant that none of them kills is a survivor, although some other
test of the suite might fail.
"""

from __future__ import annotations

#: By module below `lib/retrieve`, in the order in which `make mutants` takes them.
COVERED_BY = {
    "decisions.py": "words/test_decisions.py",
}
