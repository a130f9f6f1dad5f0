"""
Which values interact
=====================

Batch, layer, instance and group norm compute the same formula. They differ in which values share a mean and a variance
(Wu and He, *Group Normalization*, 2018, arXiv:1803.08494, figure 2). Values that share them interact: each output
depends on all of them. The Jacobian, the matrix of all derivatives dy/dx, shows it.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn

x = np.random.default_rng(0).normal(size=(3, 4, 3))  # 3 samples, 4 channels, 3 positions
_, channels, positions = x.shape

# %%
# A pattern names the axes, and after the arrow those that are kept. Group norm with two groups computes one mean and
# one variance for each sample and each group:

tn.draw_pattern("n (g c) t -> n g", x.shape, g=2)

# %%
# The four norms are four patterns, and the pattern says how many values share a mean. Compare that with the number of
# inputs that an output depends on, counted in the Jacobian:

patterns = {
    "batch norm": ("n c t -> c", {}),
    "layer norm": ("n c t -> n", {}),
    "instance norm": ("n c t -> n c", {}),
    "group norm": ("n (g c) t -> n g", {"g": 2}),
}
jacobians = {}
for name, (pattern, groups) in patterns.items():
    jacobian = tn.jacobian(lambda x, p=pattern, g=groups: tn.normalize(x, p, **g), x)
    jacobian = jacobians[name] = jacobian.reshape(x.size, x.size)
    (count,) = {*np.count_nonzero(jacobian, axis=1).tolist()}  # the same for all outputs
    print(f"{name}: {tn.describe(pattern, x.shape, **groups)}")
    print(f"    each output depends on {count} of the {x.size} inputs")
    print(f"    row sums of the Jacobian: at most {np.abs(jacobian.sum(axis=1)).max():.0e}")

# %%
# The rows sum to zero, up to rounding: if the same number is added to all inputs, the outputs stay as they are.
#
# Now the matrices themselves. Row i and column j hold the derivative of output i with respect to input j. Both are in
# memory order: first the positions of the first channel of the first sample, then those of its second channel, and so
# on. Thin lines separate channels, thick lines samples.

# sphinx_gallery_thumbnail_number = 2
figure, axes = plt.subplots(2, 2, figsize=(6.4, 7.2), layout="constrained")
for ax, (name, jacobian) in zip(axes.flat, jacobians.items(), strict=True):
    shown = np.where(jacobian == 0, np.nan, jacobian)
    image = ax.imshow(shown, cmap="RdBu", vmin=-1.5, vmax=1.5)
    ax.set(title=f"{name}\n{patterns[name][0]}", xticks=[], yticks=[], xlabel="inputs", ylabel="outputs")
    ax.set_facecolor("0.85")
    for i in range(positions, x.size, positions):
        for line in (ax.axvline, ax.axhline):
            line(i - 0.5, color="0.2", lw=0.2 if i % (channels * positions) else 1.5)
bar = figure.colorbar(image, ax=axes, location="bottom", extend="both", shrink=0.6, aspect=40)
bar.set_label("dy/dx; grey: exactly 0")
plt.show()

# %%
# For layer, instance and group norm the derivatives lie in blocks on the diagonal: samples do not interact. The fewer
# values share a mean, the smaller the blocks. Batch norm has derivatives far from the diagonal: each output depends on
# the same channel of all other samples. So its result for one sample changes with the rest of the batch.
#
# ``tn.draw_jacobian`` draws such a matrix in one line, ordered by sample or by feature. A feature is here a position of
# a channel. Ordered by feature, batch norm has blocks on the diagonal, too:

tn.draw_jacobian(tn.batch_norm, x, order="feature", title="batch norm, by feature")
