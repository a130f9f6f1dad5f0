"""
Noise after batch norm
======================

Does batch norm help because it keeps the distributions of activations fixed? Santurkar et al. 2018, `How Does Batch
Normalization Help Optimization? <https://arxiv.org/abs/1805.11604>`_, section 2, added noise that moves these
distributions at each step. Their VGG network learned nearly as well as without it. Here six layers learn digits.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

digits, STEPS, SEEDS = split_digits(), 120, 3

# %%
# As in the paper, the noise has neither mean 0 nor variance 1, and its distribution changes at each step: every unit
# draws a shift between -0.5 and 0.5 and a scale between 1 and 1.25. Every sample then draws a shift and a scale close
# to those of the unit.


class Noise(tn.nn.Module):
    rng = np.random.default_rng(0)

    def forward(self, x):
        shift = self.rng.uniform(-0.5, 0.5, x.shape[1]) + self.rng.uniform(-0.1, 0.1, x.shape)
        scale = self.rng.uniform(1, 1.25, x.shape[1]) + self.rng.normal(0, 0.1, x.shape)
        return x * scale.astype(x.dtype) + shift.astype(x.dtype)


WAYS = {
    "no norm": (lambda: [], "black", ":"),
    "batch norm": (lambda: [tn.nn.BatchNorm1d(64)], "#0072B2", "-"),
    "with noise": (lambda: [tn.nn.BatchNorm1d(64), Noise()], "#D55E00", "--"),
}


def train(norm, seed):
    """Return for each step the loss, and the means and deviations over the batch of what the fourth ReLU receives."""
    rng, history = np.random.default_rng(seed), []
    layers = [tn.nn.Sequential(tn.nn.Linear(64, 64, rng=rng), *norm(), tn.nn.ReLU()) for _ in range(6)]
    model = tn.nn.Sequential(*layers, tn.nn.Linear(64, 10, rng=rng))
    optimizer = tn.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        batch = rng.choice(len(digits.train_labels), 64, replace=False)
        optimizer.zero_grad()
        with tn.observe(layers[3][-2]) as seen:
            loss = tn.nn.cross_entropy(model(digits.train_images[batch]), digits.train_labels[batch])
        loss.backward()
        optimizer.step()
        history.append((loss.item(), *seen[""][0]))
    return zip(*history, strict=True)


# %%
# The upper plot shows the training loss, the mean of three seeds and their range. The lower ones show what one unit of
# the fourth layer receives during the first run: mean ± standard deviation over the batch.

figure, axes = plt.subplot_mosaic([["loss"] * 3, [*WAYS]], figsize=(6.4, 5), layout="constrained")
for way, (norm, colour, dash) in WAYS.items():
    losses, means, deviations = map(np.array, zip(*(train(norm, seed) for seed in range(SEEDS)), strict=True))
    axes["loss"].plot(losses.mean(axis=0), dash, color=colour, label=way)
    axes["loss"].fill_between(range(STEPS), losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.2, lw=0)
    low, high = (means - deviations)[0, :, 0], (means + deviations)[0, :, 0]
    axes[way].plot(means[0, :, 0], color=colour, lw=1)
    axes[way].fill_between(range(STEPS), low, high, color=colour, alpha=0.25, lw=0)
    axes[way].set(title=way, xlabel="training step", ylim=(-3, 7))
    moves = np.median(np.abs(np.diff(means, axis=1)) / deviations[:, :-1])
    print(f"{way}: last 20 losses {losses[:, -20:].mean():.2f}, means move by {moves:.3f} standard deviations a step")
axes["loss"].set(xlabel="training step", ylabel="training loss", ylim=(0, 2.5))
axes["loss"].legend(frameon=False)
axes["no norm"].set_ylabel("what a unit receives")
plt.show()

# %%
# With noise the means move more per step, in standard deviations, than without a norm (where they also move because
# each step draws another batch). Yet the loss falls nearly as fast as with batch norm alone, so fixed distributions are
# not needed for that. The authors explain it by a smoother loss, which is not tested here.
