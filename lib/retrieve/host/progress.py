"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

from retrieve.wording import size, span

#: Seconds between two lines in a log, and between two looks at a bar that nothing moves.
EVERY, BAR_EVERY = 30.0, 1.0
#: Seconds before a bar is shown.
BAR_AFTER = 0.5
#: As `tqdm` writes it: the figures, and the bar in what place they leave.
_FORMAT = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}] |{bar}|"


class Progress:
    """Shows how far something is, as a context; safe to call from several threads.

    Parameters
    ----------
    what
        One word for what is going on: ``listing``.
    unit
        The unit that is counted; ``B`` is written with the prefixes of bytes.
    total
        How many there will be, if that is known.
    quiet
        Not to show it; what is said all the same is.
    """

    def __init__(self, what: str, unit: str, total: int | None = None, *, quiet: bool = False) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.quiet = quiet
        self.count = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._begin = time.monotonic()
        self._bar = None
        self._text = ""

    def __enter__(self) -> Progress:
        self._begin = time.monotonic()
        if self.quiet:
            return self
        # A dumb terminal, such as a shell inside an editor, would print each state of the bar as a new line.
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = self._make_bar()
        self._ticking = threading.Thread(target=self._tick)
        self._ticking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if not self.quiet:
            self._ticking.join()
        with self._guard:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def advance(self, count: int) -> None:
        """Add to the count; less than 0 takes back."""
        with self._guard:
            self.count += count
            if self._bar is not None:
                self._bar.update(count)

    def reach(self, count: int) -> None:
        """Set the count."""
        self.advance(count - self.count)

    def note(self, text: str, failures: int) -> None:
        """Add what else is counted, and the failures if there are any."""
        with self._guard:
            self._text = f"{text}, {failures} failed" if failures else text
            if self._bar is not None:
                self._bar.set_postfix_str(self._text, refresh=False)

    def say(self, line: str) -> None:
        """Print a line to stderr without tearing the bar."""
        with self._guard:
            if self._bar is not None:
                self._bar.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)

    def _make_bar(self) -> object:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own, which would never be joined
        scaled = self.unit == "B"
        return tqdm(
            desc=self.what,
            total=self.total,
            unit=self.unit if scaled else f" {self.unit}",
            unit_scale=scaled,
            # Chunks of several archives come in bursts, so rate and time left are averages over a minute.
            smoothing=0.05,
            dynamic_ncols=True,
            bar_format=_FORMAT if self.total else None,
            leave=False,
            delay=BAR_AFTER,
        )

    def _tick(self) -> None:
        """Show where it stands now and then, also while nothing moves."""
        while not self._ended.wait(EVERY if self._bar is None else BAR_EVERY):
            with self._guard:
                if self._bar is not None:
                    self._bar.refresh()
                elif not self._ended.is_set():
                    print(self.line(time.monotonic() - self._begin), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """Write it for a log, so many seconds after its begin."""
        amount = size if self.unit == "B" else str
        text = f"{self.what}: {amount(self.count)}" + (f" of {amount(self.total)}" if self.total else "")
        rate = self.count / seconds
        speed = f", {size(rate)}/s" if self.unit == "B" else f" {self.unit}"
        left = f"{span((self.total - self.count) / rate)} left" if self.total and rate > 0 else ""
        return ", ".join(filter(None, (text + speed, self._text, left)))
