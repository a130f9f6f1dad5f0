"""
The gradient of batch norm, by hand and automatic
=================================================

On paper, the gradient of batch norm has a closed form. The engine knows no such formula: it differentiates one array
operation after another. Both give the same numbers.
"""

import numpy as np

import tinygrad_norm as tn

EPS = 1e-5


def by_hand(cotangent, x, weight):
    """Return dL/dx, dL/dγ and dL/dβ, as one derives them on paper."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mean) / np.sqrt(var + EPS)
    dxhat = cotangent * weight
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / np.sqrt(var + EPS)
    return dx, (cotangent * xhat).sum(axis=0), cotangent.sum(axis=0)


# %%
# The cotangent ``dL/dy`` is what later layers send back. It is random here: with a cotangent of ones ``dL/dx`` is zero,
# and many wrong formulas give zero, too.

rng = np.random.default_rng(0)
x = tn.tensor(rng.normal(size=(8, 3)), requires_grad=True, name="x")
weight = tn.tensor(rng.normal(size=3), requires_grad=True, name="γ")
bias = tn.tensor(rng.normal(size=3), requires_grad=True, name="β")
cotangent = rng.normal(size=(8, 3))

y = tn.batch_norm(x, weight=weight, bias=bias, eps=EPS)
automatic = tn.grad(y, (x, weight, bias), cotangent)

for name, a, b in zip(("x", "γ", "β"), by_hand(cotangent, x.data, weight.data), automatic, strict=True):
    difference = np.abs(a - b.data).max()
    print(f"dL/d{name}: largest difference {difference:.1e}")
    assert difference < 1e-12

# %%
# Adding a constant to a column of ``x`` changes nothing in ``y``, so each column of ``dL/dx`` sums to zero.

print("largest column sum of dL/dx:", np.abs(automatic[0].data.sum(axis=0)).max().round(12))

# %%
# The gradient is computed by the same operations, so it can be drawn, too: the forward pass runs down, the gradient up,
# each operation beside the one it differentiates.

tn.draw(y, backward=True, fit=(520, 520))
