"""Where the time of a step goes: in NumPy, by primitive, forward and in its rules; what is left is the engine's own."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_norm.engine.primitive import PRIMITIVES

from .contenders import CONTENDERS, OURS, Work

REST = "the engine"


@contextmanager
def _timed(spent: Counter[str]) -> Iterator[None]:
    """Add up the time that each primitive's forward function and rules take; those that a rule calls are the rule's."""
    inside = False

    def timed(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return function(*args, **kwargs)
            inside, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[key] += time.perf_counter() - start
                inside = False

        return run

    before = {p: (p.forward, p.rules) for p in PRIMITIVES.values() if type(p.rules) is tuple}
    for p in before:
        p.rules = tuple(timed(f"{p.name}, backward", rule) for rule in p.rules)
        p.forward = timed(p.name, p.forward)
    try:
        yield
    finally:
        for p, (forward, rules) in before.items():
            p.forward, p.rules = forward, rules


def shares(work: Work, rounds: int) -> dict[str, float]:
    """Return the median microseconds of each part of a step of this engine, the largest first."""
    step, found = CONTENDERS[OURS](work), []
    for _ in range(rounds):
        spent: Counter[str] = Counter()
        with _timed(spent):
            start = time.perf_counter()
            step()
            total = time.perf_counter() - start
        found.append({**spent, REST: total - sum(spent.values())})
    medians = {key: statistics.median(one[key] for one in found) * 1e6 for key in found[0]}
    return dict(sorted(medians.items(), key=lambda item: -item[1]))
