"""Functions with automatic gradients of any order: functions of Tensors, and modules with their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..engine.autodiff import grad, vjp
from ..engine.context import surrounding
from ..engine.operators import Array, plain
from ..engine.tensor import Tensor, constant
from .calling import Signature
from .leaves import Leaves
from .scales import generator

Given = Callable[..., Any]


class Automatic:
    """A function of Tensors. Its derivative of order n is the gradient of the derivative of order n - 1."""

    def __init__(self, fn: Given, keywords: Mapping[str, Any], order: int = 1) -> None:
        if not callable(fn):
            raise TypeError(f"expected a function, got {fn!r}")
        self.fn, self.keywords, self.order = fn, keywords, order
        self.signature = Signature.of(fn, keywords)

    def own(self, leaves: Leaves) -> dict[str, Array]:
        """Return parameters that are checked with the inputs."""
        return {}

    def call(self, own: Mapping[str, Any], arguments: Sequence[Any]) -> Any:
        """Run the function once."""
        return self.fn(*arguments, **self.keywords)

    def value(self, leaves: Leaves, *arrays: Array) -> Array:
        """Return the outputs, joined to one array."""
        return np.asarray(plain(self._of_floats(leaves, arrays)(*(constant(arrays[i]) for i in leaves.floats))))

    def gradients(self, leaves: Leaves, wrt: Any, g: Array, *arrays: Array) -> list[Any]:
        """Return a gradient for each floating-point leaf, and None for the others."""
        pulled = vjp(self._of_floats(leaves, arrays), *(arrays[i] for i in leaves.floats))[1](g)
        found = dict(zip(leaves.floats, pulled if len(leaves.floats) > 1 else (pulled,), strict=True))
        return [found.get(i) for i in range(len(arrays))]

    def _of_floats(self, leaves: Leaves, arrays: Sequence[Any]) -> Given:
        def function(*tensors: Tensor) -> Any:
            standing = list(arrays)
            for i, tensor in zip(leaves.floats, tensors, strict=True):
                standing[i] = tensor
            return _joined(self.call(leaves.parameters(standing), leaves.together(standing)))

        return _gradient_of(function, self.order - 1)


class OfModule(Automatic):
    """A module of this package, with its parameters."""

    def __init__(self, module: Any, keywords: Mapping[str, Any]) -> None:
        super().__init__(module.forward, keywords)
        self.module = module

    def own(self, leaves: Leaves) -> dict[str, Array]:
        """Return the parameters, in float64."""
        return {path: parameter.data.astype(np.float64) for path, parameter in self.module.named_parameters()}

    def call(self, own: Mapping[str, Any], arguments: Sequence[Any]) -> Any:
        """Run the module with the given parameters."""
        with _standing_in(self.module, own):
            return self.module(*arguments, **self.keywords)


@contextmanager
def _standing_in(module: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Replace a module's parameters within a ``with`` block."""
    places = []
    for path in values:
        owner = module
        *way, name = path.split(".")
        for step in way:
            owner = getattr(owner, step)
        places.append((owner.__dict__, name, owner.__dict__[name]))
    try:
        for (attributes, name, _), value in zip(places, values.values(), strict=True):
            attributes[name] = value
        yield
    finally:
        for attributes, name, parameter in places:
            attributes[name] = parameter


def _joined(y: Any) -> Any:
    """Return the outputs, joined to one."""
    if y is None:
        raise TypeError("the function returned None instead of a Tensor or an array: is a return statement missing?")
    if isinstance(y, dict):
        y = [*y.values()]
    return np.concatenate([np.reshape(part, (-1,)) for part in y]) if isinstance(y, tuple | list) else y


def _gradient_of(fn: Given, order: int) -> Given:
    """Return a function for the gradient of ``<c, fn>`` with a fixed random c, joined over all inputs."""
    if order == 0:
        return fn
    fn = _gradient_of(fn, order - 1)

    def gradient(*xs: Tensor) -> Any:
        # Inputs that need no gradient become new leaves, so that their gradient is recorded.
        leaves = [x if x.requires_grad else Tensor(x.data, requires_grad=True) for x in xs]
        with surrounding(recording=True):
            y = fn(*leaves)
        cotangent = generator(order).normal(size=y.shape)
        found = grad(y, leaves, cotangent, create_graph=True) if y.requires_grad else [x * 0 for x in leaves]
        return np.concatenate([np.reshape(v, (-1,)) for v in found])

    return gradient
