"""
Digits with and without norms
=============================

Six narrow layers learn digits: without normalization, with larger initial weights, with layer norm (J. L. Ba, J. R.
Kiros and G. E. Hinton 2016, `Layer Normalization <https://arxiv.org/abs/1607.06450>`_) and with batch norm (S. Ioffe
and C. Szegedy 2015, `Batch Normalization <https://arxiv.org/abs/1502.03167>`_).
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

digits = split_digits()
STEPS, SEEDS, RATES = 100, 3, (0.02, 0.1, 0.5)

# %%
# A hidden layer is linear, then a norm, then tanh. The initial weights are uniform between ±1/√n for n inputs,
# PyTorch's default. Their variance is 1/(3n), so each layer shrinks its input to about √(1/3) = 0.58 of its size. With
# weights √3 times larger, the second network roughly keeps the size without any norm.

WAYS = {
    "no norm": (tn.nn.Identity, 1.0, "black", ":"),
    "no norm, larger weights": (tn.nn.Identity, 3**0.5, "#CC79A7", "-."),
    "layer norm": (tn.nn.LayerNorm, 1.0, "#D55E00", "--"),
    "batch norm": (tn.nn.BatchNorm1d, 1.0, "#0072B2", "-"),
}


def network(norm, scale, rng):
    layers = []
    for inputs in (64, 32, 32, 32, 32, 32):
        linear = tn.nn.Linear(inputs, 32, rng=rng)
        linear.weight.data = scale * linear.weight.data
        layers += [linear, norm(32), tn.nn.Tanh()]
    return tn.nn.Sequential(*layers, tn.nn.Linear(32, 10, rng=rng))


def train(norm, scale, rate, seed):
    """Return the loss at each step, and the test accuracy at the end, in percent."""
    rng, losses = np.random.default_rng(seed), []
    model = network(norm, scale, rng)
    optimizer = tn.optim.SGD(model.parameters(), lr=rate)
    for _ in range(STEPS):
        batch = rng.choice(len(digits.train_labels), 64, replace=False)
        optimizer.zero_grad()
        loss = tn.nn.cross_entropy(model(digits.train_images[batch]), digits.train_labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with tn.no_grad():
        return losses, 100 * np.mean(model.eval()(digits.test_images).argmax(axis=1) == digits.test_labels)


# %%
# Lines are means over three seeds; the shaded areas and bars span all three.

figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.8), layout="constrained")
for way, (norm, scale, colour, dash) in WAYS.items():
    runs = [[train(norm, scale, rate, seed) for seed in range(SEEDS)] for rate in RATES]
    losses = np.array([loss for loss, _ in runs[1]])
    scores = np.array([[score for _, score in row] for row in runs])
    left.plot(losses.mean(axis=0), dash, color=colour, label=way)
    left.fill_between(range(STEPS), losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    right.plot(RATES, scores.mean(axis=1), dash, color=colour, marker="o")
    right.vlines(RATES, scores.min(axis=1), scores.max(axis=1), color=colour)
    print(f"{way:24}", *(f"{mean:5.1f} % at {rate}" for mean, rate in zip(scores.mean(axis=1), RATES, strict=True)))
left.set(title=f"learning rate {RATES[1]}", xlabel="training step", ylabel="training loss", ylim=(0, 2.5))
right.set(title=f"after {STEPS} steps", xlabel="learning rate", ylabel="test accuracy, %", xscale="log", ylim=(0, 100))
right.set_xticks(RATES, labels=RATES)
right.minorticks_off()
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %%
# With the default weights and no norm, hardly anything is learned at the two lower rates. Larger weights change that:
# part of what norms do here is to make up for weights that are too small. Batch norm does well at all three rates.
# Layer norm is about as good at the lowest rate, but at the highest it does worse than larger weights alone.
