"""What hypothesis draws, as a list, for tests and figures that go through the same inputs each time."""

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import seed as seeded

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
