"""Optimizers. A step assigns new arrays to the parameters, so recorded graphs do not change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..engine.operators import Array, plain
from ..engine.tensor import Tensor
from ..norm.checks import finite

Parameters = Iterable[Tensor] | Iterable[Mapping[str, Any]]


class _Optimizer:
    """Groups of parameters with their options, and the state of each parameter."""

    def __init__(self, params: Parameters, **options: Any) -> None:
        if isinstance(params, Tensor):
            raise TypeError("an optimizer requires a list of parameters, or of dicts with 'params', not one Tensor")
        given: list[Any] = list(params)
        if not given:
            raise ValueError("an optimizer requires at least one parameter")
        self.defaults, self._memory = options, dict[Tensor, Any]()
        self.param_groups: list[dict[str, Any]] = []
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group: a dict with "params" and options that override the defaults."""
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {p for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer requires Parameters, not {type(p).__name__}")
            if p.node is not None or p in known:
                what = "is not a leaf" if p.node is not None else "is a duplicate"
                raise ValueError(f"an optimizer requires distinct leaves, and {p._label()} {what}")
            known.add(p)
        self.param_groups.append(_checked({**self.defaults, **group, "params": params}))

    @property
    def lr(self) -> float:
        """The learning rate of the first group. Setting it changes all groups."""
        return self.param_groups[0]["lr"]  # type: ignore[no-any-return]

    @lr.setter
    def lr(self, lr: float) -> None:
        for group in self.param_groups:
            group["lr"] = lr

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = -p.grad.data if group["maximize"] else p.grad.data
                    # An option given as a NumPy scalar could change the dtype.
                    p.data = self._moved(p, g, group).astype(p.dtype, copy=False)

    def _moved(self, p: Tensor, g: Array, group: Mapping[str, Any]) -> Array:
        raise NotImplementedError


def _checked(group: dict[str, Any]) -> dict[str, Any]:
    """Convert the options of a group to Python numbers and check their ranges."""
    for name in group.keys() & {"lr", "momentum", "weight_decay", "eps"}:
        group[name] = finite(name, plain(group[name]))
        if group[name] < 0:
            raise ValueError(f"{name} must not be negative, not {group[name]!r}")
    if "betas" in group:
        group["betas"] = tuple(finite("betas", plain(beta)) for beta in group["betas"])
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"betas must be in the interval [0, 1), not {group['betas']!r}")
    if group.get("nesterov") and (not group["momentum"] or group["dampening"]):
        raise ValueError("nesterov requires a nonzero momentum and zero dampening")
    return group


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum, as in PyTorch.

    ``v = momentum * v + (1 - dampening) * g``, or ``v = g`` in the first step; ``p = p - lr * v``, or with ``nesterov``
    ``p = p - lr * (g + momentum * v)``.

    Parameters
    ----------
    params : iterable of Parameters, or of dicts
        A dict has "params" and options for this group, for example ``{"params": biases, "weight_decay": 0.0}``. The
        options can be changed between steps in ``param_groups``; ``optimizer.lr = ...`` sets the rate of all groups.
    lr, momentum, dampening, weight_decay : float
        ``weight_decay`` adds ``weight_decay * p`` to the gradient.
    nesterov : bool
    maximize : bool
        Whether to maximize instead of minimize.

    Raises
    ------
    TypeError
        If an entry is not a Parameter.
    ValueError
        If there are no parameters, one is a duplicate or not a leaf, or an option is out of range.

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
        self, params: Parameters, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize,
        )  # fmt: skip

    def _moved(self, p: Tensor, g: Array, group: Mapping[str, Any]) -> Array:
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p.data
        if momentum:
            before = self._memory.get(p)
            velocity = g.copy() if before is None else momentum * before + (1 - group["dampening"]) * g
            self._memory[p] = velocity
            g = g + momentum * velocity if group["nesterov"] else velocity
        step: Array = group["lr"] * g
        return p.data - step


class Adam(_Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1), as in PyTorch.

    Parameters
    ----------
    params : iterable of Parameters, or of dicts
        As in `SGD`.
    lr : float
    betas : pair of float
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Adds ``weight_decay * p`` to the gradient. `AdamW` has a weight decay that does not affect the moments.
    amsgrad : bool
        Whether to divide by the largest second moment so far (Reddi, Kale and Kumar 2018, arXiv:1904.09237).
    maximize : bool
        Whether to maximize instead of minimize.

    Raises
    ------
    TypeError, ValueError
        As in `SGD`.

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

    _decoupled = False

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )

    def _moved(self, p: Tensor, g: Array, group: Mapping[str, Any]) -> Array:
        x, lr, decay, (beta1, beta2) = p.data, group["lr"], group["weight_decay"], group["betas"]
        if decay and self._decoupled:
            x = x * (1 - lr * decay)
        elif decay:
            g = g + decay * x
        zero = np.zeros_like(x)
        steps, first, second, largest = self._memory.get(p, (0, zero, zero, zero))
        steps += 1
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * (g * g)
        largest = np.maximum(largest, second) if group["amsgrad"] else second
        self._memory[p] = steps, first, second, largest
        unbiased_root = np.sqrt(largest) * (1 / math.sqrt(1 - beta2**steps))
        step: Array = (lr / (1 - beta1**steps)) * first / (unbiased_root + group["eps"])
        return x - step


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as in PyTorch.

    Before each step the parameter is multiplied by ``1 - lr * weight_decay``, which does not affect the moments. The
    parameters are those of `Adam`.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> p = tn.nn.Parameter([1.0])
    >>> optimizer = tn.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.85])
    """

    _decoupled = True

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
