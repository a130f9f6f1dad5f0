"""The closed form of batch normalization's gradient, derived by hand, beside the automatic one."""

import numpy as np

import tinygrad_norm as tn

EPS = 1e-5


def by_hand(cotangent, x, weight):
    """Return dL/dx, dL/dweight and dL/dbias, as one derives them on paper."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mean) / np.sqrt(var + EPS)
    dxhat = cotangent * weight
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / np.sqrt(var + EPS)
    return dx, (cotangent * xhat).sum(axis=0), cotangent.sum(axis=0)


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

print("column sums of dL/dx:", np.abs(automatic[0].data.sum(axis=0)).max().round(12))
