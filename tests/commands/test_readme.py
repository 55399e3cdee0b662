"""The README and its pages are true: the commands that they show print what they show."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from support.site import HERE, Site

#: The pages with commands, in the order in which a reader would follow them.
PAGES = (
    "docs/tutorial.md",
    "README.md",
    "docs/how-to/status.md",
    "docs/how-to/cluster.md",
    "docs/reference/stamps.md",
    "docs/reference/json.md",
    "docs/how-to/other-products.md",
)
#: Where its reader has the toolkit.
PLACE = "/home/you/retrieve"
#: Stands between the commands in what a shell prints.
MARK = "---- next ----"


def transcript(page: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, and the output shown below it."""
    blocks = re.findall(r"```console\n(.*?)```", (HERE / page).read_text(), re.DOTALL)
    parts = re.split(r"^\$ (.*)\n", "".join(blocks), flags=re.MULTILINE)[1:]
    return [*zip(parts[::2], parts[1::2], strict=True)]


def copy_of_the_checkout(into: Path) -> Path:
    """Copy what git knows, as a clone has it."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=HERE, capture_output=True, check=True, text=True).stdout
    for name in names.split("\0"):
        if name and (HERE / name).is_file():
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((HERE / name).read_bytes())
            target.chmod((HERE / name).stat().st_mode)
    return into


def timeless(output: str) -> str:
    """Leave out when something was done, and how long it took."""
    return re.sub(r"[0-9-]{10} [0-9:]{8}Z( +[0-9]+ s)?", "then", output)


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_commands_of_the_readme_print_what_it_shows(site: Site) -> None:
    copy_of_the_checkout(site.directory)
    demo = site.run("make", "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    script = ["trap 'kill $(jobs -p)' EXIT"]
    shown, port = [], ""
    for page in PAGES:
        for command, output in transcript(page):
            if command.endswith("&"):
                port = free_port()
                # Where a reader takes a moment, the script waits for the port.
                wait = f"(: </dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.05"
                command += f"\nfor _ in $(seq 2400); do {wait}; done"
            shown.append((page, command.partition("\n")[0], timeless(output)))
            script += [command.replace("8443", port), f"echo '{MARK}'"]
    result = site.run("bash", "-c", "exec 2>&1; " + "\n".join(script))
    # Scripts for other machines name the port, the Python and the run directory, which is the checkout here.
    printed = result.stdout.replace(f":{port}", ":8443")
    printed = printed.replace(sys.executable, f"{PLACE}/.venv/bin/python").replace(str(site.directory), PLACE)
    outputs = map(timeless, printed.split(f"{MARK}\n"))
    assert [(*one[:2], output) for one, output in zip(shown, outputs, strict=False)] == shown
    assert result.returncode == 0
