"""`make test-again`: the tests in a row, beside busy loops and on one core; here with other commands in their place."""

from __future__ import annotations

import re
from pathlib import Path

from support.site import HERE, Site

SCRIPT = str(HERE / "lib/make/test-again.sh")


def test_each_run_gets_a_line_and_one_that_fails_fails_them_all(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tests").write_text(
        "taskset -pc $$ >>seen; [ $(wc -l <seen) != 2 ] || { echo 'FAILED test_x'; exit 1; }\n"
    )
    result = site.run(SCRIPT, "4", "sh", str(tmp_path / "tests"))
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert [re.split("  +", line)[:3] for line in lines if "wall" in line] == [
        ["1/4", "busy", "passed"], ["2/4", "alone", "failed"], ["3/4", "busy", "passed"], ["4/4", "one core", "passed"]
    ]  # fmt: skip
    assert all(re.search(r"wall \d+\.\d s  CPU \d+\.\d s$", line) for line in lines if "wall" in line)
    assert lines[2] == "FAILED test_x"
    assert result.stderr.startswith("1 of 4 runs failed; what they printed is in ")
    assert (site.directory / "seen").read_text().splitlines()[-1].endswith(": 0")
    result = site.run(SCRIPT, "2", "true")
    assert (result.returncode, result.stderr, len(result.stdout.splitlines())) == (0, "", 2)
