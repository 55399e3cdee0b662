"""What the pictures have in common: the colours, and how matplotlib draws them to a file or into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from retrieve.standing.survey import STATES

#: Colours on a light and on a dark ground. What is done goes from light to dark (on the dark ground, to bright), what
#: is wrong is warm, what the source lacks is grey. Of each ground, any two are at least 0.1 apart in OKLab, also as
#: the colour-blind see them (Machado et al. 2009).
_OF_STATES = (
    ("#0f513c", "#35e0b4"), ("#2c66de", "#2f7df0"), ("#4fb0f5", "#2c5a92"), ("#f2a007", "#ffe23f"),
    ("#dd4b0c", "#f08a24"), ("#7a1c8c", "#b9a4ff"), ("#948a8f", "#92807c"), ("#cdcdc6", "#4b4946"),
)  # fmt: skip
#: By the name that they have in the page's style sheet.
COLOURS: dict[str, tuple[str, str]] = {
    "surface": ("#ffffff", "#14171a"),
    "ink": ("#1b1d1f", "#eceef0"),
    "muted": ("#5a5f64", "#a6adb3"),
    "rule": ("#d6d9dc", "#373c41"),
    **{f"state-{index}": pair for index, pair in enumerate(_OF_STATES)},
}
SURFACE, INK, MUTED, RULE = (COLOURS[name][0] for name in ("surface", "ink", "muted", "rule"))
OF_STATE: Mapping[str, str] = {state: light for state, (light, _) in zip(STATES, _OF_STATES, strict=True)}


@contextmanager
def style(points: float) -> Iterator[None]:
    """Draw in our colours, with text of that size; the same picture twice is the same file."""
    settings = {
        "font.size": points,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "figure.facecolor": SURFACE,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "retrieve",
    }
    with mpl.rc_context():
        mpl.rcdefaults()  # not the user's own style
        mpl.rcParams.update(settings)
        yield


def svg(figure: Figure, label: str) -> str:
    """Draw a figure as an SVG element for the page, whose style sheet gives the colours.

    Parameters
    ----------
    label
        Alternative text, for readers who cannot see the figure.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    element = text.getvalue()[text.getvalue().index("<svg") :]
    # Two figures of a page have the same numbers; a hundredth of a point is less than a screen shows.
    element = re.sub(r' id="[^"]*_\d+"| (?:width|height)="[\d.]+pt"|<(metadata|style).*?</\1>', "", element, flags=re.S)
    element = re.sub(r"(\.\d\d)\d+", r"\1", element)
    for name, (light, _) in COLOURS.items():
        element = element.replace(light, f"var(--{name})")
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def save(figure: Figure, path: Path) -> None:
    """Draw a figure to a file, which appears whole; the name's end says in which format."""
    temporary = path.with_name(f".{path.name}")
    undated = {"CreationDate": None} if path.suffix == ".pdf" else None
    figure.savefig(temporary, format=path.suffix[1:], metadata=undated)
    temporary.rename(path)
