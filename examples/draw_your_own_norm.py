"""A normalization of one's own, written in plain NumPy, drawn with its gradient."""

import sys
from pathlib import Path

import numpy as np

import tinygrad_norm as tn


def mad_norm(x, weight):
    """Divide each row by its mean absolute deviation: a norm that no library has."""
    with tn.scope("mad_norm"):
        mean = tn.named("μ", np.mean(x, axis=1, keepdims=True))
        centred = tn.named("x−μ", x - mean)
        deviation = tn.named("mad", np.mean(np.abs(centred), axis=1, keepdims=True))
        return tn.named("y", centred / (deviation + 1e-5) * weight)


rng = np.random.default_rng(0)
x = tn.tensor(rng.normal(size=(4, 3)), requires_grad=True, name="x")
weight = tn.tensor(rng.normal(size=3), requires_grad=True, name="γ")
y = mad_norm(x, weight)

report = tn.check_gradients(mad_norm, x, weight, seed=0)
print(f"checked against the {report.oracle}: largest relative error {report.largest_relative_error:.0e}")

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
print("drawn:", tn.draw(y, detail="slide").save(folder / "mad_norm.svg").name)
print("drawn:", tn.draw(y, backward=True, detail="slide").save(folder / "mad_norm_backward.svg").name)
