"""A small convolutional network and a small transformer learn digits, each with several normalizations inside."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tests.sampling import one_in
from tinygrad_norm import nn
from tinygrad_norm.datasets import Digits, split_digits
from tinygrad_norm.tour.models import accuracy, batches


def convolutional(norm: Callable[[int], nn.Module], rng: np.random.Generator) -> nn.Module:
    """Two convolutions with a normalization after each, on (N, 1, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=rng), norm(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, rng=rng), norm(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 10, rng=rng),
    )  # fmt: skip


class Attention(nn.Module):
    """Each token becomes an average of all tokens' values, weighted by how its query fits their keys."""

    def __init__(self, width: int, heads: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, rng=rng) for _ in range(4))

    def forward(self, x: Any) -> Any:
        samples, tokens, width = x.shape
        apart = (samples, tokens, self.heads, width // self.heads)
        q, k, v = (linear(x).reshape(apart).swapaxes(1, 2) for linear in (self.query, self.key, self.value))
        weights = tn.ops.softmax(q @ k.mT * (1 / math.sqrt(apart[-1])))
        return self.out((weights @ v).swapaxes(1, 2).reshape(x.shape))


class Block(nn.Module):
    """A transformer block that normalizes first: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module], rng: np.random.Generator) -> None:
        super().__init__()
        self.first_norm, self.second_norm = norm(width), norm(width)
        self.attention = Attention(width, 2, rng)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width, rng=rng), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width, rng=rng)
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.first_norm(x))
        return x + self.mlp(self.second_norm(x))


class Transformer(nn.Module):
    """The rows of an image as tokens, (N, 8, 8): embedded, told their place, one block, and the mean of all tokens."""

    def __init__(self, norm: Callable[[int], nn.Module], rng: np.random.Generator) -> None:
        super().__init__()
        self.embedding, self.head = nn.Linear(8, 32, rng=rng), nn.Linear(32, 10, rng=rng)
        self.place = nn.Parameter(0.1 * rng.normal(size=(8, 32)), dtype=np.float32)
        self.block, self.norm = Block(32, norm, rng), norm(32)

    def forward(self, x: Any) -> Any:
        tokens = self.block(self.embedding(x) + self.place)
        return self.head(self.norm(tokens).mean(axis=1))


NETWORKS: dict[str, Callable[[np.random.Generator], nn.Module]] = {
    "convolution, batch norm": lambda rng: convolutional(nn.BatchNorm2d, rng),
    "convolution, group norm": lambda rng: convolutional(lambda c: nn.GroupNorm(4, c), rng),
    "convolution, instance norm": lambda rng: convolutional(lambda c: nn.InstanceNorm2d(c, affine=True), rng),
    "transformer, layer norm": lambda rng: Transformer(nn.LayerNorm, rng),
    "transformer, RMS norm": lambda rng: Transformer(nn.RMSNorm, rng),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def digits_for(name: str) -> Digits:
    shape = (-1, 1, 8, 8) if name.startswith("convolution") else (-1, 8, 8)
    digits = split_digits()
    return digits._replace(
        train_images=digits.train_images.reshape(shape), test_images=digits.test_images.reshape(shape)
    )


@cache
def trained(name: str, shuffled: bool = False) -> nn.Module:
    """A network in eval mode, after 150 batches of 64: almost seven times through the training set."""
    rng, digits = np.random.default_rng(0), digits_for(name)
    if shuffled:
        digits = digits._replace(train_labels=rng.permutation(digits.train_labels))
    model = NETWORKS[name](rng)
    optimizer = tn.optim.Adam(model.parameters(), lr=5e-3)
    for _, (images, labels) in zip(range(150), batches(digits, 64, rng), strict=False):
        optimizer.zero_grad()
        nn.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


@every_network
def test_the_slope_of_the_loss_along_a_direction_is_what_the_gradient_says(name):
    """In float64, along a random direction of all parameters at once."""
    rng = np.random.default_rng(1)
    digits, model = digits_for(name), NETWORKS[name](rng)
    images, labels = digits.train_images[:16].astype(np.float64), digits.train_labels[:16]
    parameters = list(model.parameters())
    start = [p.data.astype(np.float64) for p in parameters]
    direction = [rng.normal(size=p.shape) for p in parameters]

    def loss_after(step: float) -> Any:
        for p, at, v in zip(parameters, start, direction, strict=True):
            p.data = at + step * v
        return nn.cross_entropy(model(images), labels)

    loss_after(0.0).backward()
    slope = sum((p.grad.data * v).sum() for p, v in zip(parameters, direction, strict=True))
    step = 1e-6
    assert_allclose(slope, (loss_after(step).item() - loss_after(-step).item()) / (2 * step), rtol=1e-6)
    assert abs(slope) > 0.1


@pytest.mark.parametrize("name", one_in(3, NETWORKS))
def test_a_network_learns_digits(name):
    digits = digits_for(name)
    assert accuracy(trained(name), digits.test_images, digits.test_labels) > 0.9


@pytest.mark.parametrize("name", one_in(2, ["convolution, batch norm", "transformer, layer norm"]))
def test_with_shuffled_labels_there_is_nothing_to_learn(name):
    """Chance is 10 %: what the networks learn are the labels."""
    digits = digits_for(name)
    assert accuracy(trained(name, shuffled=True), digits.test_images, digits.test_labels) < 0.3


def test_a_trained_network_says_the_same_with_its_batch_norms_folded():
    images, model = digits_for("convolution, batch norm").test_images, trained("convolution, batch norm")
    folded = tn.fold_batch_norm(model)
    assert sum(isinstance(layer, nn.Identity) for _, layer in folded.children()) == 2
    found, want = folded(images).data, model(images).data
    assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())
    assert_array_equal(found.argmax(axis=1), want.argmax(axis=1))
