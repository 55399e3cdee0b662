"""`fits_looks.py FILE…`, or `fits_looks.py START STOP` for mutated files: how they look, as JSON.

A process of its own, as `untar` has them: of one thread, and what becomes of it is seen from outside.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from retrieve.formats import fits
from support.site import HERE
from support.watched import PYTHON


def looks(*words: object, patience: float = 120) -> dict[str, Any]:
    """Run this program.

    Returns
    -------
    dict
        ``looks``: for each file the problems that the quick and the full check found, and whether it has a loose end;
        ``memory``: the most that it, or a process of its own, took, in bytes.
    """
    done = subprocess.run(
        [os.environ[PYTHON], "-m", "support.fits_looks", *map(str, words)],
        env=os.environ | {"PYTHONPATH": f"{HERE / 'lib'}:{HERE / 'tests'}", "OPENBLAS_NUM_THREADS": "1"},
        text=True, capture_output=True, timeout=patience, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr
    return json.loads(done.stdout)


def _look(source: Path | bytes) -> tuple[str | None, str | None, bool]:
    quick, full = fits.look(source), fits.look(source, full=True)
    assert quick.loose_end == full.loose_end
    return quick.problem, full.problem, full.loose_end


def main(words: list[str]) -> None:
    """Look at the files, both as files and in memory; at mutated ones in turns."""
    if words[0].isdigit():
        from support.fits_making import mutated

        found = []
        with tempfile.NamedTemporaryFile() as file:
            for number, content in enumerate(mutated(range(int(words[0]), int(words[1])))):
                Path(file.name).write_bytes(content)
                found.append(_look(Path(file.name) if number % 2 else content))
    else:
        found = [_look(Path(word)) for word in words]
        assert found == [_look(Path(word).read_bytes()) for word in words]
    # Not by `getrusage`, which counts what this process was before it became another program.
    own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    most = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
    print(json.dumps({"looks": found, "memory": most}))


if __name__ == "__main__":
    main(sys.argv[1:])
