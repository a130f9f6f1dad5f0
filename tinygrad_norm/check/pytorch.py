"""Functions of PyTorch tensors, modules and autograd functions, if PyTorch has been imported."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.tensor import Tensor
from .automatic import Automatic
from .calling import Signature
from .leaves import Leaves


def is_of_torch(fn: Any) -> bool:
    """Return whether something is a PyTorch module, or the ``apply`` of an autograd Function."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return False
    owner = getattr(fn, "__self__", None)
    return isinstance(fn, torch.nn.Module) or (isinstance(owner, type) and issubclass(owner, torch.autograd.Function))


def settled(written: Any, leaves: Leaves) -> Any:
    """Find out by one call whether a function takes our Tensors or PyTorch's, and return it accordingly."""
    if "torch" not in sys.modules or type(written) is not Automatic:
        return written
    standing = [Tensor(x) if i in leaves.floats else x for i, x in enumerate(leaves.arrays)]
    try:
        y = written.call({}, leaves.together(standing))
        if isinstance(y, Tensor) or any(isinstance(part, Tensor) for part in y):
            return written
    except Exception:  # a function that is given other tensors than it expects may raise anything
        pass
    instead = InTorch(written.fn, written.keywords, written.order)
    try:
        instead.value(leaves, *leaves.arrays)
    except Exception:  # then the first error is reported
        return written
    return instead


class InTorch(Automatic):
    """A function of PyTorch tensors. A module is copied to float64, and its parameters are checked, too."""

    def __init__(self, fn: Any, keywords: Mapping[str, Any], order: int = 1) -> None:
        if order > 1:
            raise ValueError("order must be 1 for functions of PyTorch tensors")
        super().__init__(fn, keywords)
        self.torch: Any = sys.modules["torch"]
        self.module = copy.deepcopy(fn).double() if isinstance(fn, self.torch.nn.Module) else None
        written = getattr(fn, "__self__", fn)
        names = Signature.of(getattr(written, "forward", fn), keywords)
        self.signature = names._replace(names=tuple(name for name in names.names if name != "ctx"))

    def own(self, leaves: Leaves) -> dict[str, Array]:
        """Return a module's parameters, in float64."""
        named = self.module.named_parameters() if self.module is not None else ()
        return {name: parameter.detach().cpu().numpy() for name, parameter in named}

    def call(self, own: Mapping[str, Any], arguments: Sequence[Any]) -> Any:
        """Run the function, or the module with the given parameters and a copy of its buffers."""
        if self.module is None:
            return self.fn(*arguments, **self.keywords)
        state = {**{name: buffer.clone() for name, buffer in self.module.named_buffers()}, **own}
        return self.torch.func.functional_call(self.module, state, tuple(arguments), dict(self.keywords))

    def value(self, leaves: Leaves, *arrays: Array) -> Array:
        """Return the outputs, joined to one array."""
        with self.torch.no_grad():
            y = self._outputs(leaves, arrays, self._tensors(leaves, arrays))
        return np.asarray(y.resolve_conj().cpu().numpy())

    def gradients(self, leaves: Leaves, wrt: Any, g: Array, *arrays: Array) -> list[Any]:
        """Return PyTorch's gradient for each floating-point leaf; zero if the output does not depend on it."""
        tensors = {i: x.requires_grad_() for i, x in self._tensors(leaves, arrays).items() if i not in leaves.numbers}
        y = self._outputs(leaves, arrays, tensors)
        if not y.requires_grad:
            return [np.zeros_like(x) if i in tensors else None for i, x in enumerate(arrays)]
        cotangent = self.torch.as_tensor(g).to(y)
        grads = self.torch.autograd.grad(y, [*tensors.values()], cotangent, allow_unused=True)
        found = dict(zip(tensors, grads, strict=True))
        return [
            None if i not in found else np.zeros_like(x) if found[i] is None else found[i].cpu().numpy().astype(x.dtype)
            for i, x in enumerate(arrays)
        ]

    def _tensors(self, leaves: Leaves, arrays: Sequence[Array]) -> dict[int, Any]:
        """Return tensors for the floating-point leaves except Python numbers; all are complex if one is."""
        floats = [i for i in leaves.floats if i not in leaves.numbers]
        common = np.complex128 if any(map(np.iscomplexobj, arrays)) else np.float64 if self.module is not None else None
        return {i: self.torch.as_tensor(np.asarray(arrays[i], common)) for i in floats}

    def _outputs(self, leaves: Leaves, arrays: Sequence[Array], tensors: Mapping[int, Any]) -> Any:
        """Return the only output, or all outputs joined."""
        whole = [x if i in leaves.numbers else tensors.get(i, self.torch.as_tensor(x)) for i, x in enumerate(arrays)]
        y = self.call(leaves.parameters(whole), leaves.together(whole))
        return y if isinstance(y, self.torch.Tensor) else self.torch.cat([x.reshape(-1) for x in self._within(y)])

    def _within(self, y: Any) -> Iterator[Any]:
        """Yield the floating-point tensors in nested outputs."""
        if isinstance(y, self.torch.Tensor):
            yield from [y] if y.is_floating_point() or y.is_complex() else []
        else:
            for part in y.values() if isinstance(y, dict) else y:
                yield from self._within(part)
