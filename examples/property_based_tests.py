"""
Property-based tests of a gradient
==================================

A unit test asks whether code is right for inputs that you chose. A property-based test states what holds for all;
`Hypothesis <https://hypothesis.readthedocs.io>`_ searches for an input that breaks it, then for a smaller one (MacIver
et al., *Hypothesis: A new approach to property-based testing*, JOSS 2019). It finds a mistake that a unit test missed.
"""

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import Phase, given, settings

import tinygrad_norm as tn

# %%
# Layer norm of the rows of a matrix in plain NumPy. Its backward pass has a mistake, and passes a unit test:


def forward(x):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def backward(g, x):
    y, deviation = forward(x), np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return (g - g.sum(1, keepdims=True) / len(x) - y * (g * y).sum(1, keepdims=True) / len(x)) / deviation


print(tn.check_backward(forward, backward, np.random.default_rng(0).normal(size=(4, 4)), seed=0).verdict.name)

# %%
# Now a property. If one number is added to a whole row, ``forward`` returns the same, so each row of the gradient sums
# to zero. ``tn.check.inputs`` names the axes of ``x``, and ``generic()`` returns a strategy: it draws sizes and values.


@settings(deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])
@given(tn.check.inputs(x="n d").generic())
def test_rows_of_the_gradient_sum_to_zero(inputs):
    dx = backward(np.random.default_rng(0).normal(size=inputs[0].shape), *inputs)
    np.testing.assert_allclose(dx.sum(axis=1), 0, atol=1e-9)


try:
    test_rows_of_the_gradient_sum_to_zero()
except AssertionError as error:
    print(*error.__notes__)

# %%
# ``tn.check_backward`` needs no property: it compares with numerical derivatives. Given the same axes, it searches in
# the same way, tries edge cases such as constant rows as well, and describes the mismatch.

try:
    tn.check_backward(forward, backward, tn.check.inputs(x="n d"), seed=0)
except tn.GradientMismatch as error:
    print(error)

# %%
# Both report a matrix that is not square. Here is the error for more shapes, relative to the length of the cotangent:

errors = np.zeros((9, 9))
for n, d in np.ndindex(errors.shape):
    x, g = np.random.default_rng(0).normal(size=(2, n, d))
    if min(n, d) > 1:
        errors[n, d] = np.linalg.norm(backward(g, x) - tn.vjp(forward, x)[1](g)) / np.linalg.norm(g)
        plt.text(d, n, f"{errors[n, d]:.1f}" if n != d else f"{errors[n, d]:.0e}", ha="center", va="center")
plt.imshow(errors, cmap="Reds", vmax=6)
plt.gca().set(xlim=(1.5, 8.5), ylim=(8.5, 1.5), xlabel="columns", ylabel="rows", title="Error by shape of x")
plt.show()

# %%
# Only square matrices are right: each sum runs over the columns, and ``len(x)`` is the number of rows. Corrected:


def backward(g, x):
    y, deviation = forward(x), np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return (g - g.mean(1, keepdims=True) - y * (g * y).mean(1, keepdims=True)) / deviation


test_rows_of_the_gradient_sum_to_zero()
print(tn.check_backward(forward, backward, tn.check.inputs(x="n d"), seed=0).text())
