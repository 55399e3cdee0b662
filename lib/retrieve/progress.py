"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

#: Seconds between two lines in a log.
EVERY = 30.0


class Progress:
    """Shows how far something is, as a context; safe to call from several threads.

    Parameters
    ----------
    what
        What is going on, in a word: ``listing``.
    unit
        What is counted; ``B`` is written with the prefixes of bytes.
    total
        How many there will be, if that is known.
    """

    def __init__(self, what: str, unit: str, total: int | None = None) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.count = 0
        self._guard = threading.Lock()
        self._next_line = time.monotonic() + EVERY
        self._bar = None
        self._text = ""

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm import tqdm

            scaled = self.unit == "B"
            self._bar = tqdm(
                desc=self.what,
                total=self.total,
                unit=self.unit if scaled else f" {self.unit}",
                unit_scale=scaled,
                dynamic_ncols=True,
                leave=False,
                delay=0.5,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """Add to the count; less than 0 takes back."""
        with self._guard:
            self.count += count
            if self._bar is not None:
                self._bar.update(count)
            elif time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + EVERY
                print(self._line(), file=sys.stderr, flush=True)

    def reach(self, count: int) -> None:
        """Set the count."""
        self.advance(count - self.count)

    def note(self, text: str, failures: int) -> None:
        """Add what else is counted, and the failures if there are any."""
        self._text = f"{text}, {failures} failed" if failures else text
        with self._guard:
            if self._bar is not None:
                self._bar.set_postfix_str(self._text, refresh=False)

    def say(self, line: str) -> None:
        """Print a line to stderr without tearing the bar."""
        with self._guard:
            if self._bar is not None:
                self._bar.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)

    def _line(self) -> str:
        from retrieve.result import size

        if self.unit == "B":
            of = f" of {size(self.total)}" if self.total else ""
            return ", ".join(filter(None, (f"{self.what}: {size(self.count)}{of}", self._text)))
        of = f" of {self.total}" if self.total else ""
        return f"{self.what}: {self.count}{of} {self.unit}"
