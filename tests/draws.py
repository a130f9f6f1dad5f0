"""What hypothesis draws, as a list, for tests and figures that go through the same inputs each time."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.strategies import seeds
from tinygrad_norm.check.correct import Array
from tinygrad_norm.check.strategies import Inputs

Arrays = tuple[Array, ...]


def drawn(inputs: Inputs, count: int, regime: str = "generic") -> list[Arrays]:
    """Return what hypothesis draws, the same each time; in ordinary draws never two equal arrays, which it likes."""
    found: list[Arrays] = []

    @seeded(0)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(getattr(inputs, regime)())
    def collect(xs: Arrays) -> None:
        assume(regime != "generic" or not any(map(np.array_equal, xs, xs[1:])))
        found.append(xs)

    collect()
    return found


@cache
def cases_of(row: Any) -> list[Any]:
    """Return ``(inputs, static), seed`` for each case of a row of the primitive table, the smallest first."""
    found: list[Any] = []

    @settings(phases=[Phase.generate])
    @given(st.tuples(row.cases, seeds))
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return sorted(found, key=lambda case: sum(x.size for x in case[0][0]))


def each_case(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test of a row on every case of it. All tests of the row share them: drawing costs more than testing."""

    def run(row: Any, largest_first: bool = False, **options: Any) -> None:
        for (inputs, static), seed in cases_of(row)[:: -1 if largest_first else 1]:
            try:
                test(row, tuple(x.copy() for x in inputs), static, np.random.default_rng(seed), **options)
            except Exception as error:
                error.add_note(f"{inputs=}, {static=}, {seed=}")
                raise

    parameters = inspect.signature(test).parameters
    shown = [parameters[name] for name in parameters if name not in ("inputs", "static", "rng")]
    run.__signature__, run.__name__, run.__doc__ = inspect.Signature(shown), test.__name__, test.__doc__
    return run
