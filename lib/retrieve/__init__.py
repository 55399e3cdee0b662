"""Bring the results of ShapePipe tiles home from a VOSpace container."""

import sys

#: Of the toolkit, the only place where it is written: pyproject.toml and `make version` read it here.
VERSION = "0.1.0"

if sys.version_info < (3, 11):  # noqa: UP036 - PYTHON is the user's choice
    sys.stderr.write("'%s' is older than Python 3.11; give PYTHON a newer one\n" % sys.executable)  # noqa: UP031
    sys.exit(2)
