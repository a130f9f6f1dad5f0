"""What compares libraries is right itself: each derivative is that of batch norm, and boxes are counted as drawn."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.benchmarks import libraries

every_library = pytest.mark.parametrize("name", libraries.DERIVATIVES)
X, G, H = (np.random.default_rng(i).normal(size=(6, 3)) for i in range(3))


@every_library
@pytest.mark.oracle
def test_a_library_differentiates_batch_norm(name: str) -> None:
    if not libraries.installed(name):
        pytest.skip(f"{name} is not here")
    derivative, (first, second) = libraries.DERIVATIVES[name], libraries.exact(X, G, H)
    assert libraries.error(derivative(X, G), first) < 1e-12
    if name not in libraries.ONCE:
        assert libraries.error(derivative(X, G, H), second) < 1e-12


def test_what_is_exact_is_what_the_engine_computes() -> None:
    first, second = libraries.exact(X, G, H)
    assert libraries.error(libraries.derivative_of_ours(X, G), first) < 1e-13
    assert libraries.error(libraries.derivative_of_ours(X, G, H), second) < 1e-13
    assert first.dtype == np.longdouble


def test_boxes_are_counted_as_they_are_drawn() -> None:
    drawing = tn.draw(tn.batch_norm(tn.tensor(X, requires_grad=True)))
    assert libraries.boxes(drawing.source) == len(drawing.graph.vertices)


def test_what_a_distribution_needs_is_followed() -> None:
    assert {"tinygrad-norm", "numpy", "wasmtime"} <= libraries.needed("tinygrad_norm")
    assert libraries.needed("numpy") == {"numpy"}
