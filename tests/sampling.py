"""How much of a long list is tried in every run; the rest is tried with ``--exhaustive``, as in CI."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(count: int, values: Iterable[Any]) -> list[Any]:
    """Return the values for `pytest.mark.parametrize`: of each `count` the first is tried in every run."""
    return [
        pytest.param(
            *(value if type(value) is tuple else (value,)), marks=pytest.mark.exhaustive if place % count else ()
        )
        for place, value in enumerate(values)
    ]
