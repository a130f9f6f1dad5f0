"""The networks that the tour trains, and the loop that trains them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..datasets import Digits
from ..engine.operators import Array
from ..engine.recording import no_grad
from ..nn.containers import Sequential
from ..nn.layers import Linear, Tanh
from ..nn.losses import cross_entropy
from ..nn.module import Module
from ..nn.normalization import BatchNorm1d, GroupNorm, LayerNorm
from ..nn.optim import Adam

WIDTH = 64
CLASSES = 10

NORMS: dict[str, Callable[[int], Module] | None] = {
    "none": None,
    "batch": BatchNorm1d,
    "layer": LayerNorm,
    "group": lambda width: GroupNorm(8, width),
}


def tanh_network(depth: int, norm: str, rng: np.random.Generator, width: int = WIDTH) -> Sequential:
    """Return a classifier of ``depth`` hidden layers: linear, normalization, tanh."""
    make_norm = NORMS[norm]
    layers: list[Module] = []
    features = 64
    for _ in range(depth):
        layers.append(Linear(features, width, rng=rng))
        if make_norm is not None:
            layers.append(make_norm(width))
        layers.append(Tanh())
        features = width
    return Sequential(*layers, Linear(features, CLASSES, rng=rng))


def batches(digits: Digits, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield random mini-batches of the training set indefinitely."""
    while True:
        order = rng.permutation(len(digits.train_images))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield digits.train_images[chosen], digits.train_labels[chosen]


def train(
    model: Module,
    digits: Digits,
    steps: int,
    rng: np.random.Generator,
    each_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train with Adam at 1e-3 on batches of 64."""
    optimizer = Adam(model.parameters(), lr=1e-3)
    model.train()
    for step, (images, labels) in zip(range(steps), batches(digits, 64, rng), strict=False):
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        each_step(step, loss.item())


@no_grad()
def accuracy(model: Module, images: Array, labels: Array) -> float:
    """Return the fraction of digits recognized, in the current mode of the model."""
    return float(np.mean(model(images).argmax(axis=1) == labels))
