"""
A hand-written backward, wrong and right
========================================

A backward pass of layer norm lacks one of its terms. The checker finds that it is wrong and says which route of the
gradient is missing. A plot of the mismatch shows why, and with the term in its place the check passes.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn

# %%
# The forward pass is the textbook's, row by row.


def deviation(x):
    return np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)


def layer_norm(x):
    return (x - x.mean(axis=1, keepdims=True)) / deviation(x)


# %%
# Wrong
# -----
# ``x`` reaches ``y`` through the numerator, the mean and the variance. This backward pass treats the standard deviation
# as a constant. ``g`` is the gradient of the loss with respect to ``y``.


def without_the_variance(g, x):
    return (g - g.mean(axis=1, keepdims=True)) / deviation(x)


x = np.random.default_rng(0).normal(size=(4, 16))
try:
    tn.check_backward(layer_norm, without_the_variance, x, seed=0)
except tn.GradientMismatch as error:
    print(error)

# %%
# The report says that the mismatch is parallel to ``x̂``, the output of the norm. Automatic differentiation gives the
# right gradient, so we can plot one against the other. Each row of the batch is on a line through the origin.

g = np.random.default_rng(1).normal(size=x.shape)
tensor = tn.tensor(x, requires_grad=True)
gradient = tn.grad(layer_norm(tensor), tensor, g).data
mismatch = without_the_variance(g, x) - gradient

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for row, (a, b) in enumerate(zip(layer_norm(x), mismatch, strict=True)):
    ax.plot(a, b, "o", label=f"row {row}")
ax.axhline(0, color="0.7", zorder=0)
ax.axvline(0, color="0.7", zorder=0)
ax.set(xlabel="x̂", ylabel="wrong minus right gradient", title="The mismatch is parallel to x̂ in each row")
ax.legend()
plt.show()

# %%
# Right
# -----
# The slopes of the lines are the missing term: the mean of ``g * x̂`` over the row, divided by the deviation.


def backward(g, x):
    xhat = layer_norm(x)
    slope = (g * xhat).mean(axis=1, keepdims=True)
    return (g - g.mean(axis=1, keepdims=True) - slope * xhat) / deviation(x)


report = tn.check_backward(layer_norm, backward, x, seed=0)
print(f"{report.verdict.name}, largest relative error {report.largest_relative_error:.0e}")
