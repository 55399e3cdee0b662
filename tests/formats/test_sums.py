"""Lists of MD5s: ours are read by `md5sum`, and those that it writes are read by us."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from retrieve.formats.sums import parse_sums, sums_line

#: Names of files; what a file holds is its name.
NAMES = [
    "plain.tgz",
    "a b",
    " led",
    "trailing ",
    "*star",
    "\\\\",
    "a\\\\nb",
    "new\nline",
    "return\r",
    "\r\n",
    "-",
    "é",
    "\udcff",
    ")",
    "MD5 (x) = y",
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """MD5s by name of files with odd names."""
    for name in NAMES:
        (tmp_path / name).write_bytes(os.fsencode(name))
    return {f"./{name}": hashlib.md5(os.fsencode(name)).hexdigest() for name in NAMES}


def md5sum(directory: Path, *words: str, text: str = "") -> str:
    result = subprocess.run(["md5sum", *words], input=os.fsencode(text), cwd=directory, capture_output=True, check=True)
    return os.fsdecode(result.stdout)


def test_md5sum_reads_what_is_written(files: dict[str, str], tmp_path: Path) -> None:
    text = "".join(sums_line(md5, name) for name, md5 in files.items())
    assert md5sum(tmp_path, "--check", "--strict", text=text).count(": OK\n") == len(NAMES)
    assert text == md5sum(tmp_path, *files)


@pytest.mark.parametrize("option", ["--text", "--binary", "--tag"])
def test_what_md5sum_writes_is_read(option: str, files: dict[str, str], tmp_path: Path) -> None:
    assert dict(parse_sums(md5sum(tmp_path, option, *files))) == files


def test_remarks_capitals_and_ends_of_lines_of_other_systems_are_read() -> None:
    assert parse_sums(f"# made by hand\r\n\r\n{'AB' * 16} *x\r\n{'0' * 32}  y") == [
        ("x", "ab" * 16),
        ("y", "0" * 32),
    ]


@pytest.mark.parametrize("line", ["x", "0" * 32, f"{'0' * 31}  x", f"{'0' * 32}x  y", f"SHA1 (x) = {'0' * 32}"])
def test_another_line_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match=r"^its line 2 is none of md5sum$"):
        parse_sums(f"{'0' * 32}  x\n{line}\n")
