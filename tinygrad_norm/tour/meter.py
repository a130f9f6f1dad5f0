"""How far the tour is, and how long it will still take."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tqdm import tqdm

# From so many seconds on, the pace of this machine counts more than that of an ordinary one.
TRUST = 4.0


class Meter:
    """A progress bar that counts work in seconds of an ordinary machine, so that its first estimate is sane already.

    Attributes
    ----------
    total, done : float
        All work, and how much of it is done.
    """

    def __init__(self, total: float) -> None:
        self.total, self.done, self.title = total, 0.0, ""
        self._start = time.perf_counter()
        # Where nobody watches, as in a pipe, there is no bar.
        self._bar = tqdm(total=1, bar_format="{bar:20} {percentage:3.0f} %  {desc}", leave=False, disable=None)

    @property
    def left(self) -> float:
        """How many seconds the rest will take at the pace of this machine, as far as it is known."""
        pace = (time.perf_counter() - self._start + TRUST) / (self.done + TRUST)
        return (self.total - self.done) * pace

    def begin(self, title: str) -> None:
        """Say what is being done."""
        self.title = title
        self.add(0)

    def add(self, seconds: float) -> None:
        """Count work as done."""
        self.done = min(self.done + seconds, self.total)
        self._bar.set_description_str(f"about {self.left:.0f} s left  {self.title}", refresh=False)
        self._bar.update(self.done / self.total - self._bar.n)

    def hidden(self) -> AbstractContextManager[None]:
        """Clear the bar for as long as something else is written."""
        hidden: AbstractContextManager[None] = tqdm.external_write_mode()
        return hidden

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
