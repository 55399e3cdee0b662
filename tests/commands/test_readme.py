"""The README is true: the commands that it shows print what it shows."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from support.site import HERE, Site

#: The pages with commands, in the order in which a reader would follow them.
PAGES = (
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


def transcript() -> list[tuple[str, str]]:
    """Each command of the pages' console blocks, and the output shown below it."""
    text = "".join((HERE / page).read_text() for page in PAGES)
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    shown: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            shown.append((line[2:], ""))
        else:
            command, output = shown[-1]
            shown[-1] = command, f"{output}{line}\n"
    return shown


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


def test_the_commands_of_the_readme_print_what_it_shows(site: Site) -> None:
    copy_of_the_checkout(site.directory)
    demo = site.run("make", "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    commands = [command.replace("8443", port) for command, _ in transcript()]
    server = next(command for command in commands if command.endswith("&"))
    # Where a reader takes a moment, the script waits for the port.
    wait = f"for _ in $(seq 2400); do (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.05; done"
    script = [f"PYTHON={sys.executable}; export PYTHON", "trap 'kill $server' EXIT"]
    for command in commands:
        script += [command, *(["server=$!", wait] if command == server else []), f"echo '{MARK}'"]
    result = site.run("bash", "-c", "exec 2>&1; " + "\n".join(script))
    # Scripts for other machines name the port, the Python and the run directory, which is the checkout here.
    printed = result.stdout.replace(f":{port}", ":8443")
    printed = printed.replace(sys.executable, f"{PLACE}/.venv/bin/python").replace(str(site.directory), PLACE)
    assert [*zip(commands, map(timeless, printed.split(f"{MARK}\n")), strict=False)] == [
        (command.replace("8443", port), timeless(output)) for command, output in transcript()
    ]
    assert result.returncode == 0
