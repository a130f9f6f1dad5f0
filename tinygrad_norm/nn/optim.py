"""Optimizers. A step binds new arrays to the parameters, so recorded graphs stay what they were."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..engine.operators import Array
from .module import Parameter


class _Optimizer:
    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("an optimizer needs at least one parameter")
        if not (lr >= 0 and math.isfinite(lr)):
            raise ValueError(f"lr must be finite and not negative, not {lr!r}")
        self.lr = lr

    def zero_grad(self) -> None:
        """Forget the accumulated gradients."""
        for parameter in self.parameters:
            parameter.grad = None


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch's: ``v = momentum * v + g; p = p - lr * v``.

    Parameters
    ----------
    parameters : iterable of Parameters
    lr, momentum, weight_decay : float
        ``weight_decay`` adds ``weight_decay * p`` to the gradient.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> p = tn.nn.Parameter([1.0])
    >>> optimizer = tn.optim.SGD([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.data
    array([0.])
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum, self.weight_decay = momentum, weight_decay
        self._velocity: dict[Parameter, Array] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for p in self.parameters:
            if p.grad is None:
                continue
            g = p.grad.data
            if self.weight_decay:
                g = g + self.weight_decay * p.data
            if self.momentum:
                velocity = self._velocity.get(p)
                g = self._velocity[p] = g.copy() if velocity is None else self.momentum * velocity + g
            p.data = p.data - self.lr * g


class Adam(_Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1), as PyTorch's.

    Parameters
    ----------
    parameters : iterable of Parameters
    lr : float
    betas : pair of float
    eps : float
        Added to the root of the second moment.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> p = tn.nn.Parameter([1.0])
    >>> optimizer = tn.optim.Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.9])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        self.betas, self.eps = betas, eps
        self._moments: dict[Parameter, tuple[int, Array, Array]] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        beta1, beta2 = self.betas
        for p in self.parameters:
            if p.grad is None:
                continue
            g = p.grad.data
            zero = np.zeros_like(p.data)
            steps, first, second = self._moments.get(p, (0, zero, zero))
            steps += 1
            first = beta1 * first + (1 - beta1) * g
            second = beta2 * second + (1 - beta2) * (g * g)
            self._moments[p] = steps, first, second
            unbiased_root = np.sqrt(second) * (1 / math.sqrt(1 - beta2**steps))
            p.data = p.data - (self.lr / (1 - beta1**steps)) * first / (unbiased_root + self.eps)
