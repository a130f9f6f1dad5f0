"""A hypothesis test of a layer norm whose backward pass was written by hand, and of one with a mistake in it."""

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn


def deviation(x):
    return np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + 1e-5)


def forward(x):
    return (x - x.mean(-1, keepdims=True)) / deviation(x)


def backward(g, x):
    y = forward(x)
    return (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)) / deviation(x)


def without_the_variance(g, x):
    return (g - g.mean(-1, keepdims=True)) / deviation(x)


# No fill: constant rows would hide mistakes in the variance's path.
@settings(max_examples=50, deadline=None, database=None)
@given(hnp.arrays(np.float64, (2, 4), elements=st.floats(-5, 5), fill=st.nothing()))
def test_backward(x):
    tn.check_backward(forward, backward, x, seed=0)


test_backward()
print("the hand-written backward agrees with the oracle on 50 random inputs")
try:
    tn.check_backward(forward, without_the_variance, np.array([[1.0, 2.0, 4.0]]), seed=0)
except tn.GradientMismatch as error:
    print("without the variance:", error)
