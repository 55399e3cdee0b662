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
