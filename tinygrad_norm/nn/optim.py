"""Optimizers. A step binds new arrays to the parameters, so recorded graphs stay what they were."""

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
    """Groups of parameters with their options, and what each parameter remembers of its gradients."""

    def __init__(self, params: Parameters, **options: Any) -> None:
        if isinstance(params, Tensor):
            raise TypeError("an optimizer takes a list of parameters, or of dicts with 'params', not one Tensor")
        given: list[Any] = list(params)
        if not given:
            raise ValueError("an optimizer needs at least one parameter")
        self.defaults, self._memory = options, dict[Tensor, Any]()
        self.param_groups: list[dict[str, Any]] = []
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters, under "params", with options of their own; those that are not named have the defaults."""
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {p for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer takes Parameters, not {type(p).__name__}")
            if p.node is not None or p in known:
                what = "computed, and no leaf" if p.node is not None else "given twice, which is a duplicate"
                raise ValueError(f"an optimizer takes leaves, each once, and {p._label()} was {what}")
            known.add(p)
        self.param_groups.append(_checked({**self.defaults, **group, "params": params}))

    @property
    def lr(self) -> float:
        """The learning rate of the first group. Setting it sets that of all."""
        return self.param_groups[0]["lr"]  # type: ignore[no-any-return]

    @lr.setter
    def lr(self, lr: float) -> None:
        for group in self.param_groups:
            group["lr"] = lr

    def zero_grad(self) -> None:
        """Forget the accumulated gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = -p.grad.data if group["maximize"] else p.grad.data
                    # An option that was set to a NumPy scalar would make another dtype.
                    p.data = self._moved(p, g, group).astype(p.dtype, copy=False)

    def _moved(self, p: Tensor, g: Array, group: Mapping[str, Any]) -> Array:
        raise NotImplementedError


def _checked(group: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a group as Python numbers in their range."""
    for name in group.keys() & {"lr", "momentum", "weight_decay", "eps"}:
        group[name] = finite(name, plain(group[name]))
        if group[name] < 0:
            raise ValueError(f"{name} must not be negative, not {group[name]!r}")
    if "betas" in group:
        group["betas"] = tuple(finite("betas", plain(beta)) for beta in group["betas"])
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"betas are from 0 up to but not 1, not {group['betas']!r}")
    if group.get("nesterov") and (not group["momentum"] or group["dampening"]):
        raise ValueError("nesterov needs a momentum, and dampening 0")
    return group


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch's.

    ``v = momentum * v + (1 - dampening) * g``, or ``g`` in the first step; ``p = p - lr * v``, or with ``nesterov``
    ``p - lr * (g + momentum * v)``.

    Parameters
    ----------
    params : iterable of Parameters, or of dicts
        A dict has "params" and options that differ from the others', as ``{"params": biases, "weight_decay": 0.0}``.
        They stand in ``param_groups`` and can be changed there between steps; ``optimizer.lr = ...`` sets all rates.
    lr, momentum, dampening, weight_decay : float
        ``weight_decay`` adds ``weight_decay * p`` to the gradient.
    nesterov : bool
    maximize : bool
        Whether to go up the gradient.

    Raises
    ------
    TypeError
        For what is no parameter.
    ValueError
        For no parameters, one that is given twice or was computed, and numbers out of range.

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
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1), as PyTorch's.

    Parameters
    ----------
    params : iterable of Parameters, or of dicts
        As in `SGD`.
    lr : float
    betas : pair of float
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Adds ``weight_decay * p`` to the gradient. `AdamW` is Adam with a decay that the moments do not see.
    amsgrad : bool
        Whether to divide by the largest second moment so far (Reddi, Kale and Kumar 2018, arXiv:1904.09237).
    maximize : bool
        Whether to go up the gradient.

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
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as PyTorch's.

    Before each step the parameter is multiplied by ``1 - lr * weight_decay``; the moments are those of the gradient
    alone. Parameters are those of `Adam`.

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
