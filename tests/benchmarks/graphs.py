"""Twelve graphs as users make them, from a layer to a network: what pictures are measured on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import more
from tinygrad_norm.norm.virtual_batches import batch_renorm as batch_renorm_of


def values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def data(name: str, *shape: int) -> tn.Tensor:
    return tn.tensor(values(len(name), *shape), name=name)


def leaf(name: str, *shape: int) -> tn.Tensor:
    return tn.tensor(values(len(name), *shape), requires_grad=True, name=name)


def batch_norm() -> tn.Tensor:
    return tn.batch_norm(leaf("x", 8, 3), weight=leaf("γ", 3), bias=leaf("β", 3))


def network() -> tn.Tensor:
    """Two layers with batch norm, and the loss."""
    model = nn.Sequential(nn.Linear(8, 16, rng=0), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3, rng=1))
    return nn.cross_entropy(model(data("x", 32, 8)), np.arange(32) % 3)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, rng=0)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, rng=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        h = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(h)) + x)


def residual_block() -> tn.Tensor:
    return ResidualBlock(4)(leaf("x", 2, 4, 6, 6))


class Attention(nn.Module):
    """Multi-head self-attention with layer norm and a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, rng=i) for i in range(4))

    def forward(self, x):
        batch, length, width = x.shape
        h = self.norm(x)

        def split(y):
            return y.reshape(batch, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

        q, k, v = split(self.query(h)), split(self.key(h)), split(self.value(h))
        with tn.scope("attention"):
            weights = tn.ops.softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // self.heads))
            mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        return x + self.out(mixed)


def attention() -> tn.Tensor:
    return Attention(8, 2)(leaf("x", 2, 5, 8))


def recurrent() -> tn.Tensor:
    """Six steps of a recurrent network, unrolled."""
    w, u, b = leaf("W", 3, 4), leaf("U", 4, 4), leaf("b", 4)
    h = data("h0", 2, 4)
    for t in range(6):
        with tn.scope("step"):
            h = np.tanh(data(f"x{t + 1}", 2, 3) @ w + h @ u + b)
    return h


def group_norm() -> tn.Tensor:
    return tn.group_norm(leaf("x", 2, 6, 4, 4), 3, leaf("γ", 6), leaf("β", 6))


def gradient_penalty() -> tn.Tensor:
    """The penalty on the length of a critic's gradient, which is differentiated once more."""
    x, w, v = leaf("x", 8, 4), leaf("W", 4, 6), leaf("v", 6, 1)
    score = np.tanh(x @ w) @ v
    slope = tn.grad(score, x, np.ones((8, 1), np.float32), create_graph=True)
    return ((np.sqrt((slope**2).sum(axis=1)) - 1) ** 2).mean()


class VAE(nn.Module):
    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, 16, rng=0), nn.Tanh())
        self.mean, self.log_var = nn.Linear(16, latent, rng=1), nn.Linear(16, latent, rng=2)
        self.decoder = nn.Sequential(nn.Linear(latent, 16, rng=3), nn.Tanh(), nn.Linear(16, width, rng=4))

    def forward(self, x, noise):
        h = self.encoder(x)
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + np.exp(log_var / 2) * noise
        with tn.scope("divergence"):
            divergence = -0.5 * (1 + log_var - mean**2 - np.exp(log_var)).sum(axis=1).mean()
        return nn.mse_loss(self.decoder(z), x) + divergence


def vae() -> tn.Tensor:
    return VAE(12, 2)(data("x", 8, 12), data("noise", 8, 2))


class Experts(nn.Module):
    """A mixture of experts: a gate weighs what each of them says."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, number, rng=0)
        self.experts = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(width, 6, rng=i), nn.ReLU(), nn.Linear(6, width, rng=9 - i))
                for i in range(number)
            ]
        )

    def forward(self, x):
        with tn.scope("gate"):
            shares = tn.ops.softmax(self.gate(x))
        total = 0
        for i, expert in enumerate(self.experts):
            with tn.scope("expert"):
                total = total + shares[:, i : i + 1] * expert(x)
        return total


def experts() -> tn.Tensor:
    return Experts(4, 3)(leaf("x", 8, 4))


def batch_renorm() -> tn.Tensor:
    return batch_renorm_of(
        leaf("x", 8, 3), values(1, 3), np.abs(values(2, 3)) + 1, weight=leaf("γ", 3), bias=leaf("β", 3)
    )


def weight_norm() -> tn.Tensor:
    return more.WeightNorm(nn.Linear(4, 3, rng=0))(leaf("x", 8, 4))


def twenty_layers() -> tn.Tensor:
    layers = []
    for i in range(20):
        layers += [nn.Linear(6, 6, rng=i), nn.BatchNorm1d(6), nn.ReLU()]
    return nn.Sequential(*layers)(data("x", 8, 6))


def three_hundred_boxes() -> tn.Tensor:
    """Thirty explicit steps of the heat equation along a line."""
    u, rate = leaf("u", 4, 9), leaf("k", 1)
    for _ in range(30):
        with tn.scope("step"):
            inner = u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2]
            u = u + rate * np.pad(inner, ((0, 0), (1, 1)))
    return u


# Name: how to make it, and whether it is drawn with its gradient, too.
GRAPHS: dict[str, tuple[Callable[[], tn.Tensor], bool]] = {
    "batch norm": (batch_norm, True),
    "network": (network, True),
    "residual block": (residual_block, True),
    "multi-head attention": (attention, True),
    "recurrent net, 6 steps": (recurrent, True),
    "group norm": (group_norm, True),
    "gradient penalty": (gradient_penalty, True),
    "VAE loss": (vae, True),
    "mixture of experts": (experts, True),
    "batch renorm": (batch_renorm, True),
    "weight norm": (weight_norm, True),
    "20 layers": (twenty_layers, True),
    "300 boxes": (three_hundred_boxes, False),
}
