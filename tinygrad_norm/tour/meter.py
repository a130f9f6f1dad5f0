"""The progress bar of the tour, with an estimate of the remaining time."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tqdm import tqdm

# After this many seconds, the measured speed of this machine outweighs that of a reference machine.
TRUST = 4.0


class Meter:
    """A progress bar that counts work in seconds of a reference machine, so that its first estimate is reasonable.

    Attributes
    ----------
    total, done : float
        The total work, and the work done so far.
    """

    def __init__(self, total: float) -> None:
        self.total, self.done, self.title = total, 0.0, ""
        self._start = time.perf_counter()
        # No bar is shown if the output is not a terminal.
        self._bar = tqdm(total=1, bar_format="{bar:20} {percentage:3.0f} %  {desc}", leave=False, disable=None)

    @property
    def left(self) -> float:
        """The estimated number of seconds left at the speed of this machine."""
        pace = (time.perf_counter() - self._start + TRUST) / (self.done + TRUST)
        return (self.total - self.done) * pace

    def begin(self, title: str) -> None:
        """Show the title of the current section."""
        self.title = title
        self.add(0)

    def add(self, seconds: float) -> None:
        """Add finished work."""
        self.done = min(self.done + seconds, self.total)
        self._bar.set_description_str(f"about {self.left:.0f} s left  {self.title}", refresh=False)
        self._bar.update(self.done / self.total - self._bar.n)

    def hidden(self) -> AbstractContextManager[None]:
        """Hide the bar while other text is written."""
        hidden: AbstractContextManager[None] = tqdm.external_write_mode()
        return hidden

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
