"""How much of a long list is tried in every run; the rest is tried with ``--exhaustive``, as in CI."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def one_in(count: int, values: Iterable[Any]) -> list[Any]:
    """Return values for `pytest.mark.parametrize`: the first of each `count` is tried in every run."""
    return [_tried(value, place % count == 0) for place, value in enumerate(values)]


def one_of_each(kind: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """Return values for `pytest.mark.parametrize`: the first of each kind is tried in every run."""
    values = list(values)
    kinds = [kind(value) for value in values]
    return [
        _tried(value, kinds.index(of) == place) for place, (value, of) in enumerate(zip(values, kinds, strict=True))
    ]


def _tried(value: Any, always: bool) -> Any:
    arguments = value if type(value) is tuple else (value,)
    return pytest.param(*arguments, marks=() if always else pytest.mark.exhaustive)
