"""Backward passes as people write them: courses' solutions and teaching libraries, by kind, each right and with faults.

All of it is written from formulas, in the style in which each kind is usually written. The diagnosis was written with
the seen half in view, and without the unseen half.
"""

from importlib import import_module
from pathlib import Path

from .case import Code, Wrong

_modules = [import_module(f".{path.stem}", __name__) for path in sorted(Path(__file__).parent.glob("*seen_*.py"))]


def _cases(half: str) -> tuple[Code, ...]:
    return tuple(code for m in _modules if m.__name__.split(".")[-1].startswith(half) for code in m.CASES)


SEEN = _cases("seen_")
UNSEEN = _cases("unseen_")

__all__ = ["SEEN", "UNSEEN", "Code", "Wrong"]
