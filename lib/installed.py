"""How a command begins that pip installed: as the script of its name in `bin`, with the Python that pip was given."""

import os
import sys
from pathlib import Path


def command() -> None:
    """Become that script."""
    script = Path(__file__).resolve().parents[1] / "bin" / Path(sys.argv[0]).resolve().name
    os.environ["PYTHON"] = sys.executable
    os.execv(script, [script, *sys.argv[1:]])  # noqa: S606 - a script of ours, with what the user says
