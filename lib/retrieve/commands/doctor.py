"""`doctor`: ask whether what a run needs is there, and say what to do about what is not."""

from __future__ import annotations

from retrieve.campaign.checkup import examine
from retrieve.host.messages import complain, show
from retrieve.settings import Settings
from retrieve.wording import some

#: Of the longest name of a check, in characters.
_WIDTH = len("certificate")


def main(settings: Settings) -> int:
    """Print a line per question; exit status 1 if something is not well."""
    settings.product_set()
    checks = []
    for one in examine(settings):
        checks.append(one)
        if settings.format == "text":
            # At once: a question to a network that is silent takes its time.
            print(f"{'ok' if one.ok else '!!'}  {one.name:<{_WIDTH}}  {one.text}", flush=True)
    ill = sum(not one.ok for one in checks)
    show(settings, text=[], data={"well": not ill, "checks": [one._asdict() for one in checks]})
    if ill:
        complain(f"{ill} of {some(len(checks), 'check')} not well; the lines with !! say what to do")
    return 1 if ill else 0
