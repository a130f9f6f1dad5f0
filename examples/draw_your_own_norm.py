"""
Your own norm, drawn and explored
=================================

Write a norm in plain NumPy, and everything else follows: its gradient, a check of the gradient, pictures, and a page
that steps through the numbers.
"""

import numpy as np

import tinygrad_norm as tn

# %%
# This norm divides by the mean absolute deviation, which no library has as a layer. ``tn.named`` only gives a result a
# name for the pictures.


def mad_norm(x, weight):
    mean = tn.named("μ", x.mean(axis=1, keepdims=True))
    centred = tn.named("x−μ", x - mean)
    deviation = tn.named("mad", np.abs(centred).mean(axis=1, keepdims=True))
    return tn.named("y", centred / (deviation + 1e-5) * weight)


# %%
# The gradient is automatic. The checker compares it with an independent oracle.

rng = np.random.default_rng(0)
x = tn.tensor(rng.normal(size=(4, 3)), requires_grad=True, name="x")
weight = tn.tensor(rng.normal(size=3), requires_grad=True, name="γ")

report = tn.check_gradients(mad_norm, x, weight, seed=0)
print(f"checked against {report.oracle}: largest relative error {report.largest_relative_error:.0e}")

# %%
# The forward pass.

y = mad_norm(x, weight)
tn.draw(y, detail="slide")

# %%
# And with the gradient, which runs up again. ``fit`` lays it out for a frame.

# sphinx_gallery_thumbnail_number = 2
tn.draw(y, backward=True, fit=(520, 520))

# %%
# Which values interact? Row by row the answer is the same as for layer norm: an entry of ``y`` depends on the entries
# of its own row.

tn.draw_jacobian(lambda x: mad_norm(x, weight), x)

# %%
# The page steps through both directions. Click on a number to see where it comes from, or change it.

tn.explore(mad_norm, x, weight)
