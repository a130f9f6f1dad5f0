"""Functions of PyTorch's tensors, its modules and its own autograd functions, where PyTorch is already in use."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.tensor import Tensor
from .automatic import Automatic
from .calling import Signature
from .leaves import Leaves


def is_of_torch(fn: Any) -> bool:
    """Return whether something is a module of PyTorch's, or the ``apply`` of a Function."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return False
    owner = getattr(fn, "__self__", None)
    return isinstance(fn, torch.nn.Module) or (isinstance(owner, type) and issubclass(owner, torch.autograd.Function))


def settled(written: Any, leaves: Leaves) -> Any:
    """Return a function of Tensors as it is, and one that wants PyTorch's tensors as such; tried once."""
    if "torch" not in sys.modules or type(written) is not Automatic:
        return written
    standing = [Tensor(x) if i in leaves.floats else x for i, x in enumerate(leaves.arrays)]
    try:
        y = written.call({}, leaves.together(standing))
        if isinstance(y, Tensor) or any(isinstance(part, Tensor) for part in y):
            return written
    except Exception:  # whatever a function raises that is given other tensors than it wants
        pass
    instead = InTorch(written.fn, written.keywords, written.order)
    try:
        instead.value(leaves, *leaves.arrays)
    except Exception:  # then the first error is the one to tell
        return written
    return instead


class InTorch(Automatic):
    """A function of PyTorch's tensors; modules run in float64, on a copy, and their parameters are checked too."""

    def __init__(self, fn: Any, keywords: Mapping[str, Any], order: int = 1) -> None:
        if order > 1:
            raise ValueError("order is 1 for functions of PyTorch's tensors")
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
        """Run the function, or the module with other parameters and buffers of its own."""
        if self.module is None:
            return self.fn(*arguments, **self.keywords)
        state = {**{name: buffer.clone() for name, buffer in self.module.named_buffers()}, **own}
        return self.torch.func.functional_call(self.module, state, tuple(arguments), dict(self.keywords))

    def value(self, leaves: Leaves, *arrays: Array) -> Array:
        """Return the outputs in a row."""
        with self.torch.no_grad():
            y = self._outputs(leaves, arrays, self._tensors(leaves, arrays))
        return np.asarray(y.resolve_conj().cpu().numpy())

    def gradients(self, leaves: Leaves, wrt: Any, g: Array, *arrays: Array) -> list[Any]:
        """Return PyTorch's gradient for each leaf of floats, which is zero where no way leads to it."""
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
        """Return tensors for the leaves of floats, but for numbers; all are complex if one is."""
        floats = [i for i in leaves.floats if i not in leaves.numbers]
        common = np.complex128 if any(map(np.iscomplexobj, arrays)) else np.float64 if self.module is not None else None
        return {i: self.torch.as_tensor(np.asarray(arrays[i], common)) for i in floats}

    def _outputs(self, leaves: Leaves, arrays: Sequence[Array], tensors: Mapping[int, Any]) -> Any:
        """Return the outputs in a row, or the only one."""
        whole = [x if i in leaves.numbers else tensors.get(i, self.torch.as_tensor(x)) for i, x in enumerate(arrays)]
        y = self.call(leaves.parameters(whole), leaves.together(whole))
        if isinstance(y, self.torch.Tensor):
            return y
        parts = y.values() if isinstance(y, dict) else y
        return self.torch.cat([x.reshape(-1) for x in parts if x.is_floating_point() or x.is_complex()])
