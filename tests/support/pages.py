"""Pages of the documentation, whose commands are run as a reader would."""

from __future__ import annotations

import re

from support.site import HERE, Site


def shown_and_printed(page: str, site: Site) -> tuple[str, str]:
    """Run the commands in a page's console blocks; give what the page shows of them, and what they print."""
    shown = "".join(re.findall(r"```console\n(.*?)```", (HERE / page).read_text(), re.DOTALL))
    script = [f"make() {{ command make -f '{HERE}/Makefile' \"$@\"; }}", "exec 2>&1"]
    for command in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        script += [f"cat <<'End'\n$ {command}\nEnd", command]
    return shown, site.run("bash", "-c", "\n".join(script)).stdout


def documented_keys(command: str) -> set[str]:
    """Keys that the reference names for the JSON result of a command."""
    page = (HERE / "docs/reference/json.md").read_text()
    row = re.search(rf"^\| `{command}` \| (.*) \|$", page, re.MULTILINE)[1]
    return {"version", *re.findall("`([a-z_ ]+)`", row)}


def keys(result: object) -> set[str]:
    """Keys of a JSON result, at the top and in its lists of objects."""
    if isinstance(result, list):
        return set().union(*map(keys, result))
    if not isinstance(result, dict):
        return set()
    return set(result).union(*(keys(value) for value in result.values() if isinstance(value, list)))
