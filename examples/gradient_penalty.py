"""
A gradient penalty: differentiating a gradient
==============================================

A Wasserstein GAN trains a critic to score real samples higher than generated ones. Its slope must stay bounded, so
Gulrajani et al. (*Improved Training of Wasserstein GANs*, 2017, arXiv:1704.00028) penalize slopes that differ from 1.
The loss then contains a gradient, and training differentiates it once more.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn


def make_critic(norm):
    rng = np.random.default_rng(0)
    hidden = (layer for size in (2, 32) for layer in (tn.nn.Linear(size, 32, rng=rng), norm(32), tn.nn.Tanh()))
    return tn.nn.Sequential(*hidden, tn.nn.Linear(32, 1, rng=rng))


def slopes(critic, x):
    """Return the length of each score's gradient with respect to its sample, recorded for another derivative."""
    x = tn.tensor(x, requires_grad=True)
    return np.sqrt((tn.grad(critic(x).sum(), x, create_graph=True) ** 2).sum(axis=1) + 1e-12)


# %%
# The gradient of the sum of all scores holds each score's own gradient only if no score depends on another sample. The
# paper therefore leaves out batch norm and recommends layer norm:

x = np.random.default_rng(1).normal(size=(4, 2))
for norm in (tn.nn.LayerNorm, tn.nn.BatchNorm1d):
    jacobian = tn.jacobian(make_critic(norm), x)[:, 0]  # of 4 scores with respect to 4 samples of 2 numbers
    print(f"{norm.__name__}: the first score depends on samples {np.flatnonzero(jacobian[0].any(axis=1))}")

# %%
# Real samples come from eight clusters on a circle, generated ones from around its centre. The loss is the mean score
# of the generated minus that of the real samples, plus the penalty at random points between them. Train one critic
# without the penalty, and one with ten times the penalty, as in the paper.


def draw_samples(rng, n=128):
    angle, noise = rng.integers(8, size=n) * np.pi / 4, rng.normal(size=(2, n, 2))
    return np.float32([2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * noise[0], 0.5 * noise[1]])


def train(penalty, steps=300):
    rng, critic = np.random.default_rng(0), make_critic(tn.nn.LayerNorm)
    optimizer = tn.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.5, 0.9))
    for _ in range(steps):
        real, generated = draw_samples(rng)
        loss = critic(generated).mean() - critic(real).mean()
        if penalty:
            t = np.float32(rng.uniform(size=(len(real), 1)))
            loss = loss + penalty * ((slopes(critic, t * real + (1 - t) * generated) - 1) ** 2).mean()
        critic.zero_grad()
        loss.backward()
        optimizer.step()
    return critic


real, generated = draw_samples(np.random.default_rng(1))
grid = np.stack(np.meshgrid(*2 * [np.linspace(-4, 4, 80, dtype=np.float32)]), axis=-1)
figure, axes = plt.subplot_mosaic("AB;CC", figsize=(6.4, 6), layout="constrained", height_ratios=(2, 1))
for ax, critic, title in ((axes["A"], train(0), "without the penalty"), (axes["B"], train(10), "with the penalty")):
    scores = critic(grid.reshape(-1, 2)).data.reshape(grid.shape[:2])
    figure.colorbar(ax.contourf(*np.moveaxis(grid, -1, 0), scores, 12), ax=ax, location="bottom", label="score")
    ax.plot(*real.T, "wo", *generated.T, "r^", ms=3.5, mec="k", mew=0.4)
    ax.set_title(title)
    found = slopes(critic, (real + generated) / 2).data
    axes["C"].hist(found, np.logspace(-3, 3, 60), alpha=0.6, label=title)
    print(f"{title}: slopes from {found.min():.2g} to {found.max():.2g}")
axes["C"].set(xscale="log", xlabel="slope halfway between a real and a generated sample", ylabel="samples")
axes["C"].legend()
plt.show()

# %%
# Circles are real samples, triangles generated ones. Without the penalty there are two plateaus with a steep wall
# between them. With it, scores rise from the centre outwards with a slope near 1.
