"""Lists of MD5s, as `md5sum` writes them and `md5sum -c` reads them."""

from __future__ import annotations

import re

#: A backslash before the line says that the name is escaped. The second form is that of `md5sum --tag`, and of BSD.
_LINE = re.compile(r"(?s)(\\?)([0-9a-fA-F]{32}) [ *](.+)|(\\?)MD5 \((.+)\) = ([0-9a-fA-F]{32})")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_NAMES = {escape: character for character, escape in _ESCAPES.items()}


def sums_line(md5: str, name: str) -> str:
    """Write the line of a file."""
    escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    return ("" if escaped == name else "\\") + f"{md5}  {escaped}\n"


def parse_sums(text: str) -> list[tuple[str, str]]:
    """Read a list: name and MD5 of each file.

    Raises
    ------
    ValueError
        With its number, if a line is none of `md5sum`.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"its line {number} is none of md5sum")
        escaped, name = match[1] or match[4], match[3] or match[5]
        if escaped:
            name = re.sub(r"\\[\\nr]", lambda match: _NAMES[match[0]], name)
        found.append((name, (match[2] or match[6]).lower()))
    return found
