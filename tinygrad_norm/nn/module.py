"""Module and Parameter, the base classes of layers and models, under PyTorch's names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from copy import copy
from numbers import Number
from operator import attrgetter, is_
from typing import Any

import numpy as np

from ..engine.context import Scope
from ..engine.operators import Array, plain
from ..engine.recording import ModuleScope, scope, settle
from ..engine.tensor import Tensor, frozen


class Parameter(Tensor):
    """A leaf Tensor to train. If it is an attribute of a Module, ``parameters()`` yields it."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None, name: str | None = None) -> None:
        super().__init__(data, requires_grad, dtype, name)


def array_of(key: str, value: Any) -> Array:
    """Return an entry of a state as an array, or raise a TypeError that names it."""
    try:
        return np.asarray(plain(value))
    except Exception as error:  # the library that the entry comes from may raise any error
        raise TypeError(f"{key!r} cannot be read as an array: {error}") from None


def as_model(name: str, model: Any) -> Any:
    """Check that an argument of the function ``name`` is a Module and return it."""
    if not isinstance(model, Module):
        raise TypeError(f"{name} requires a Module, not {type(model).__name__}")
    return model


def one_array(layer: Module, x: Any) -> Any:
    """Check that the input of a layer is one array or Tensor and return it."""
    if not hasattr(x, "shape"):
        raise TypeError(f"{type(layer).__name__} requires one array or Tensor, not {type(x).__name__}")
    return x


def _as_input(x: Any) -> Any:
    """Convert a positional input for ``forward``: arrays, numbers, and lists and tuples of numbers become Tensors."""
    return Tensor(x) if _is_numbers(x) and not isinstance(x, bool) else _with_tensors(x)


def _is_numbers(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return bool(x) and all(map(_is_numbers, x))
    return isinstance(x, Number | np.bool_)


def _with_tensors(x: Any) -> Any:
    """Convert arrays to Tensors, also inside lists, tuples and dicts; return anything else unchanged."""
    if isinstance(x, list | tuple | dict):
        before = list(x.values() if isinstance(x, dict) else x)
        after = [_with_tensors(value) for value in before]
        if all(map(is_, before, after)):
            return x
        if isinstance(x, dict):
            new = copy(x)
            new |= zip(x, after, strict=True)
            return new
        return x._make(after) if hasattr(x, "_make") else type(x)(after)
    # Test the type, because classes such as np.float32 have the attribute, too.
    is_array = hasattr(type(x), "__array__") and not isinstance(x, Tensor | np.generic)
    return Tensor(x) if is_array else x


class _called(scope):  # noqa: N801 (a context manager is named like the function it stands for)
    """Record the operations of a module in a scope that holds the module's path in the enclosing module."""

    __slots__ = ("_module",)

    def __init__(self, module: Module) -> None:
        super().__init__(type(module).__name__)
        self._module = module

    def _inside(self, outer: Scope | None) -> Scope:
        return ModuleScope(self._name, outer, self._place(outer), self._module)

    def _place(self, outer: Scope | None) -> str:
        for around in reversed(outer.path if outer else ()):
            if isinstance(around, ModuleScope) and (path := around.module()._path_of(self._module)):
                return f"{around.place}.{path}" if around.place else path
        return ""


def _is_at(path: str, outer: Module, module: Module) -> bool:
    try:
        return attrgetter(path)(outer) is module
    except AttributeError:
        return False


class Module:
    """A layer or a model: parameters, buffers and other modules as attributes, and a ``forward`` method.

    A call passes its inputs to ``forward`` and returns the result. Arrays are converted to Tensors first, also inside
    tuples, lists and dicts, which keep their type, and in keyword arguments. Positional numbers, and lists and tuples
    of numbers, are converted, too. All other inputs are passed unchanged.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> class Scale(tn.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = tn.nn.Parameter(np.array([2.0, 3.0]))
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> model = Scale()
    >>> model(np.ones(2))
    Tensor([2., 3.], requires_grad=True)
    >>> list(model.state_dict())
    ['weight']
    """

    training: bool

    def __init__(self) -> None:
        self.training = True
        self._buffers: dict[str, Array | None] = {}
        self._observers: list[Any] = []
        self._paths: dict[int, str] = {}  # a cache of the paths of submodules, by identity

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        inputs = tuple([x if isinstance(x, Tensor) else _as_input(x) for x in inputs])
        options = {name: _with_tensors(x) for name, x in options.items()}
        with _called(self):
            y = self.forward(*inputs, **options)
        for observer in self._observers:
            observer(self, (*inputs, *options.values()), y)
        return y

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output. Subclasses implement this method."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(self.__dict__.get(name), Parameter) and not isinstance(value, Parameter | Module | None):
            what = f"cannot assign {type(value).__name__} to the parameter {type(self).__name__}.{name}"
            raise TypeError(f"{what}; assign a Parameter or None, or set its values: module.{name}.data = ...")
        if name in self.__dict__.get("_buffers", ()):
            self._buffers[name] = None if value is None else frozen(plain(value))
        else:
            if isinstance(value, Parameter) and value.name is None:
                value.name = name
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        buffers = self.__dict__.get("_buffers")
        if buffers is None:
            raise AttributeError(f"{type(self).__name__} has no {name!r}; does its __init__ call super().__init__()?")
        if name in buffers:
            settle()  # an update of the buffer may be pending
            return buffers[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_buffer(self, name: str, value: Any) -> None:
        """Add an array that belongs to the state but is not trained. It is copied and read-only; it may be None."""
        self._buffers[name] = None
        setattr(self, name, value)

    # --- contents

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes, with their names."""
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all submodules with their paths, such as ``"0.norm"``."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all submodules."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter once, with its path, such as ``"0.weight"``.

        Modules in a plain list, tuple or dict are not found. This emits a warning, unless they are also attributes.
        """
        seen: set[Parameter] = set()
        known = set(self.modules())
        for path, module in self.named_modules():
            for name, value in module.__dict__.items():
                held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
                if any(isinstance(x, Module) and x not in known for x in held):
                    what = f"{type(module).__name__}.{name} is a {type(value).__name__} of Modules"
                    advice = "use a ModuleList or a ModuleDict"
                    warnings.warn(f"{what}, so their parameters are not found; {advice}", stacklevel=2)
            for name, value in module._own_parameters():
                if value not in seen:
                    seen.add(value)
                    yield (f"{path}.{name}" if path else name), value

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters that are attributes, with their names."""
        return ((name, value) for name, value in self.__dict__.items() if isinstance(value, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield every buffer that is not None, with its path."""
        for path, module in self.named_modules():
            for name, value in module._own_buffers():
                yield (f"{path}.{name}" if path else name), value

    def _own_buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield the buffers that are not None, with their names."""
        return ((name, value) for name, value in self._buffers.items() if value is not None)

    def _path_of(self, module: Module) -> str | None:
        """Return the path of a submodule, such as ``"0.norm"``. The cached paths are updated if it was moved."""
        path = self._paths.get(id(module))
        if path is None or not _is_at(path, self, module):
            self._paths = {id(inside): path for path, inside in self.named_modules() if path}
            path = self._paths.get(id(module))
        return path

    # --- modes and gradients

    def train(self, mode: bool = True) -> Module:
        """Set training mode for this module and all submodules."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode for this module and all submodules."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.parameters():
            parameter.grad = None

    # --- state

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by path, under PyTorch's keys."""
        state: dict[str, Array] = {}
        for path, module in self.named_modules():
            prefix = f"{path}." if path else ""
            for name, value in module._own_parameters():
                state[prefix + name] = value.numpy()
            for name, buffer in module._own_buffers():
                state[prefix + name] = buffer.copy()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters and buffers from a state dict. Parameters take the floating dtype of the new values.

        A missing ``num_batches_tracked`` is read as 0, because old checkpoints do not have it.

        Raises
        ------
        ValueError
            If keys are unknown or missing, if shapes or kinds of dtype differ, or if NumPy cannot read a value, such as
            PyTorch's bfloat16. The message lists all problems, and nothing is loaded.
        """
        parameters, buffers = self._places()
        present = {path: owner._buffers[name] for path, (owner, name) in buffers.items()}
        own: dict[str, Any] = {**parameters, **{path: value for path, value in present.items() if value is not None}}
        problems = [f"unknown key {key!r}" for key in state if key not in own]
        arrays: dict[str, Array] = {}
        for key, value in own.items():
            if key not in state:
                if key.rpartition(".")[2] != "num_batches_tracked":
                    problems.append(f"missing key {key!r}")
                arrays[key] = np.zeros((), np.int64)
                continue
            try:
                array = array_of(key, state[key])
            except TypeError as error:
                problems.append(str(error))
                continue
            if array.shape != value.shape:
                problems.append(f"{key!r} has shape {array.shape}, expected {value.shape}")
            too_wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
            if array.dtype.kind != value.dtype.kind or too_wide:
                problems.append(f"{key!r} has dtype {array.dtype}, expected {value.dtype}")
            arrays[key] = array
        if problems:
            raise ValueError(f"cannot load this state into {type(self).__name__}: " + "; ".join(problems))
        for key, parameter in parameters.items():
            parameter.data = arrays[key]
        for key, (owner, name) in buffers.items():
            if key in arrays:
                setattr(owner, name, arrays[key])

    def _places(self) -> tuple[dict[str, Parameter], dict[str, tuple[Module, str]]]:
        """Return the owner of each entry of a state dict. A shared parameter is listed under each of its paths."""
        parameters: dict[str, Parameter] = {}
        buffers: dict[str, tuple[Module, str]] = {}
        for path, module in self.named_modules():
            prefix = f"{path}." if path else ""
            parameters |= {prefix + name: parameter for name, parameter in module._own_parameters()}
            buffers |= {prefix + name: (module, name) for name in module._buffers}
        return parameters, buffers

    # --- representation

    def extra_repr(self) -> str:
        """Return the text between the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
