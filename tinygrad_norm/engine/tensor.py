"""The Tensor class, recording, graph traversal and backpropagation.

This module contains no derivatives: each primitive has its own rules. `record` runs a primitive and adds a node to the
graph; `walk` lists the computed Tensors, newest first; `backpropagate` propagates cotangents in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from operator import attrgetter
from threading import Lock
from typing import Any
from warnings import warn

import numpy as np

from .context import STATE, differentiating, record_for
from .operators import FUNCTIONS, Array, Operators, holds_tensors, plain
from .primitive import Node, Primitive

serial = count().__next__
_accumulating = Lock()
_NOTHING: Mapping[str, Any] = {}


def record(primitive: Primitive, inputs: tuple[Any, ...], static: Mapping[str, Any] = _NOTHING) -> Any:
    """Run a primitive. Return a Tensor if an input is a Tensor, with a node if one of them requires a gradient."""
    if len(inputs) == 1 and not isinstance(inputs[0], Tensor):
        return primitive.forward(inputs[0], **static)
    arrays = tuple([x._array if isinstance(x, Tensor) else x for x in inputs])
    output = primitive.forward(*arrays, **static)
    needed = None
    for x in inputs:
        if isinstance(x, Tensor):
            needed = x._requires_grad
            if needed:
                break
    if needed is None:
        return output
    state = STATE.get()
    if state.origins:
        return FUNCTIONS["remember"](output, primitive, inputs, static, needed and state.recording)
    result = constant(output)
    if needed and state.recording:
        result._requires_grad = True
        result.node = Node(primitive, inputs, arrays, static, state, serial())
        if state.trail is not None:
            state.trail.append(result)
    return result


def constant(array: Any, name: str | None = None, kind: type[Tensor] | None = None) -> Tensor:
    """Wrap an array in a Tensor without copying it. The caller must not modify the array afterwards."""
    result = _new(kind or Tensor)
    # NumPy turns 0-d results into scalars.
    result._array = array = array if type(array) is np.ndarray else np.asanyarray(array)
    array.setflags(write=False)
    result._requires_grad = False
    result._grad = result.node = None
    result.name = name
    return result


def frozen(data: Any, dtype: Any = None) -> Array:
    """Return a read-only copy."""
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask; use its .filled(...) or .data")
    copy = np.array(data, dtype=dtype)
    copy.setflags(write=False)
    return copy


def named(name: str, x: Any) -> Any:
    """Name a Tensor and return it; return anything else unchanged."""
    if isinstance(x, Tensor):
        x.name = name
    return x


class Tensor(Operators):
    """An array that records how it was computed, so that gradients can be backpropagated through it.

    A Tensor has the operators and methods of ndarray and works with NumPy functions. Comparisons return plain boolean
    arrays.

    Parameters
    ----------
    data : array_like
        The values. They are copied, and the copy is read-only.
    requires_grad : bool
        Whether operations on the Tensor are recorded. The data must then be float16, float32 or float64.
    dtype : dtype, optional
        By default the dtype of the data.
    name : str, optional
        The name shown in drawings, reports and error messages.

    Raises
    ------
    TypeError
        If ``requires_grad`` is set for integer, boolean or complex data, or if the data are not numeric.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).backward([1.0, 0.5, 0.25])
    >>> x.grad
    Tensor([2. , 2. , 1.5])
    """

    __slots__ = ("__weakref__", "_grad")

    _grad: Tensor | None
    node: Node | None
    is_data = False
    """Whether this is a plain array or number whose origin is recorded while a function is examined."""

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None, name: str | None = None) -> None:
        if holds_tensors(data):
            raise TypeError(f"a Tensor of a {type(data).__name__} of Tensors would lose their gradients; use np.stack")
        self._array = frozen(plain(data), dtype)
        if self.dtype.kind not in "biufc":
            raise TypeError(f"a Tensor holds numbers, not {self.dtype}: {self._array.ravel()[:3].tolist()}")
        self._grad = self.node = None
        self.name = name
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        """The values, a read-only array. A leaf can be assigned another array of the same shape, which is copied."""
        return self._array

    @data.setter
    def data(self, data: Any) -> None:
        if self.node is not None:
            raise RuntimeError(f".data can be assigned only to a leaf, and {self._label()} is not a leaf")
        new = Tensor(data, self._requires_grad)
        if new.shape != self.shape:
            raise ValueError(f"{self._label()} has shape {self.shape} and cannot be assigned data of shape {new.shape}")
        self._array = new._array

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this Tensor are recorded. It can be set for leaves only."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            raise RuntimeError(f"{self._label()} is not a leaf; use .detach() for a Tensor that requires no gradient")
        if value and (self.dtype.kind != "f" or self.dtype.itemsize > 8):
            what = f"only float16, float32 and float64 can have gradients, and {self._label()} is {self.dtype}"
            raise TypeError(f"{what}; convert it with .astype(np.float32)")
        self._requires_grad = bool(value)

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`, or None. If the Tensor is not a leaf, use `tinygrad_norm.grad`."""
        if self._grad is None and self.node is not None:
            advice = "only leaves accumulate gradients; use tn.grad(y, x)"
            warn(f".grad of {self._label()}, which is not a leaf, is None: {advice}", UserWarning, stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if not (value is None or isinstance(value, Tensor)):
            raise TypeError(f".grad must be a Tensor or None, not {type(value).__name__}")
        if value is not None and value.shape != self.shape:
            raise ValueError(f"the gradient of {self._label()} must have shape {self.shape}, not {value.shape}")
        self._grad = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def T(self) -> Tensor:  # noqa: N802 (ndarray's name)
        return self.transpose()

    @property
    def mT(self) -> Tensor:  # noqa: N802 (ndarray's name)
        """The matrix transpose: the last two axes swapped."""
        return self.swapaxes(-1, -2)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(", threshold=100)
        dtype = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({text}{dtype}{', requires_grad=True' if self._requires_grad else ''}{name})"

    def detach(self) -> Tensor:
        """Return a Tensor with the same values that needs no gradient. The read-only array is shared."""
        return FUNCTIONS["detach"](self) if STATE.get().origins else constant(self._array, self.name)

    def numpy(self) -> Array:
        """Return a writable copy of the values."""
        return self._array.copy()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._array.tolist()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.size != 1:
            advice = "use .data.any(), .data.all() or .tolist()"
            raise ValueError(f"the value of {self._label()} with {self.size} elements is ambiguous; {advice}")
        return self._array.item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __reduce__(self) -> Any:
        if self.node is not None:
            raise TypeError(f"{self._label()} is part of a graph and cannot be copied or pickled; use .detach() first")
        return type(self), (self._array, self._requires_grad, None, self.name), (None, {"_grad": self._grad})

    def backward(self, cotangent: Any = None) -> None:
        """Add the gradient of this Tensor to ``.grad`` of every leaf that it depends on.

        The backward pass is not recorded: for higher derivatives use ``tn.grad(..., create_graph=True)``. The graph is
        kept, and a second call adds the same gradients again.

        Parameters
        ----------
        cotangent : array_like, optional
            ``dL/dy`` for this Tensor ``y``, of the same shape; cast to the dtype of ``y``. Required unless ``y`` has
            one element.

        Raises
        ------
        RuntimeError
            If no operation was recorded for this Tensor.
        ValueError
            If the cotangent is missing or has the wrong shape.
        """
        if self.node is None or not self._requires_grad:
            raise RuntimeError(f"{self._label()} was not recorded: no input requires a gradient, or no_grad() was set")
        accumulate([(self, seed(self, cotangent))])


def tensor(data: Any, requires_grad: bool = False, dtype: Any = None, name: str | None = None) -> Tensor:
    """Create a Tensor from a copy of the data. The parameters are those of `Tensor`.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> tn.tensor([[1, 2], [3, 4]], dtype="float32", name="x")
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32, name='x')
    """
    return Tensor(data, requires_grad, dtype, name)


_new = Tensor.__new__


_AS_IT_IS = nullcontext()
_serial_of = attrgetter("node.serial")


def walk(outputs: Iterable[Tensor]) -> list[Tensor]:
    """Return every computed Tensor that the outputs depend on, each once, newest first."""
    seen = {tensor for tensor in outputs if tensor.node is not None}
    pending = list(seen)
    for tensor in pending:
        # The list grows during the iteration, so the loop visits the whole graph.
        for x in tensor.node.inputs:  # type: ignore[union-attr]
            if isinstance(x, Tensor) and x.node is not None and x not in seen:
                seen.add(x)
                pending.append(x)
    return sorted(pending, key=_serial_of, reverse=True) if len(pending) > 1 else pending


def seed(y: Tensor, cotangent: Any) -> Any:
    """Return a checked cotangent in the output's dtype, without copying; the default for one element is 1."""
    if cotangent is None:
        if y.size != 1:
            raise ValueError(f"{y._label()} has {y.size} elements: its gradient requires a cotangent of the same shape")
        return np.ones(y.shape, y.dtype)
    if type(cotangent) is np.ndarray and cotangent.dtype is y._array.dtype and cotangent.shape == y._array.shape:
        return cotangent
    g = np.asarray(plain(cotangent))
    if isinstance(cotangent, np.ma.MaskedArray) or g.dtype.kind not in "biuf" + y.dtype.kind:
        raise TypeError(f"a cotangent must hold real numbers, not {type(cotangent).__name__} of dtype {g.dtype}")
    if g.shape != y.shape:
        raise ValueError(f"the cotangent has shape {g.shape}, but {y._label()} has shape {y.shape}")
    return g.astype(y.dtype, copy=False)


def backpropagate(  # noqa: PLR0912 (the one hot loop: calls would cost more than the operations)
    seeds: Iterable[tuple[Tensor, Any]],
    inputs: Sequence[Tensor] | None = None,
    create_graph: bool = False,
    visit: Callable[[Node, int, Any], None] | None = None,
) -> dict[Tensor, Any]:
    """Propagate cotangents from the outputs to ``inputs``, or to every leaf, and return the gradients.

    If the seeds are arrays, rules run on the arrays stored in the nodes, and each gradient owns its memory. With
    ``create_graph``, the seeds and everything computed from them are Tensors.

    ``visit(node, operand, contribution)`` is called for each edge. Cotangents are kept in a local dict and removed when
    they are used, so a graph can be traversed any number of times.
    """
    cotangents: dict[Tensor, Any] = {}
    borrowed: set[Tensor] = set()  # Tensors whose cotangent may be shared
    for y, g in seeds:
        cotangents[y] = g if y not in cotangents else cotangents[y] + g
        borrowed.add(y)
    given = set(cotangents.values()) if create_graph else ()
    order = walk(cotangents)
    relevant = None if inputs is None else _leading_to(inputs, order)
    kept = dict.fromkeys(inputs or ())
    has_rules = any(y.node.primitive.pullback is None for y in order)  # type: ignore[union-attr]
    quiet = np.errstate(all="ignore") if has_rules else _AS_IT_IS
    with quiet, differentiating(order) if create_graph else _AS_IT_IS:
        for y in order:
            g = cotangents.pop(y, None)
            if g is None:
                continue
            node: Node = y.node  # type: ignore[assignment]
            output, values = y._array, node.arrays
            if create_graph:
                _check_unchanged(node)
                output, values = y, node.inputs  # type: ignore[assignment]
                if g not in given:
                    _name_cotangent(g, y)
            if y in kept:
                kept[y] = g
                borrowed.add(y)
            rules, static = node.primitive.rules, node.static
            if node.primitive.pullback is not None:
                rules = node.primitive.pullback(node, g, output, relevant)
            for operand, x in enumerate(node.inputs if rules else ()):
                if not isinstance(x, Tensor) or not x._requires_grad or (relevant is not None and x not in relevant):
                    continue
                if create_graph:
                    record_for(node, operand)
                contribution = rules[operand](g, output, *values, **static)
                if visit is not None:
                    visit(node, operand, contribution)
                before = cotangents.get(x)
                if before is None:
                    cotangents[x] = contribution
                    if contribution is g:
                        borrowed.add(x)
                elif visit is None and x not in borrowed and _is_fresh(before):
                    before += contribution
                else:
                    if create_graph:
                        record_for(x.node, None)
                    cotangents[x] = before + contribution
                    borrowed.discard(x)
    cotangents |= {x: g for x, g in kept.items() if x.node is not None and g is not None}
    settle = _distinct if create_graph else _owned
    return {x: settle(g, x in borrowed, x) for x, g in cotangents.items() if x._requires_grad}


def accumulate(seeds: Iterable[tuple[Tensor, Any]]) -> None:
    """Backpropagate from outputs with their cotangents and add the gradients to ``.grad`` of every leaf."""
    for leaf, g in backpropagate(seeds).items():
        with _accumulating:  # other threads may update the same leaf
            leaf._grad = constant(g if leaf._grad is None else leaf._grad._array + g)


def _name_cotangent(g: Tensor, y: Tensor) -> None:
    if y.name and g.name is None and g.node is not None:
        g.name = slope_name(y.name, g.node.order)


def slope_name(name: str, order: int = 1) -> str:
    """Return the name of a Tensor's cotangent: ``dL/dx``, or ``dL₂/dx`` for a second derivative, and so on."""
    of = name if name.isidentifier() or len(name) <= 2 else f"({name})"
    return f"dL{''.join(chr(0x2080 + int(i)) for i in str(order)) if order > 1 else ''}/d{of}"


def _leading_to(inputs: Iterable[Tensor], order: Sequence[Tensor]) -> set[Tensor]:
    """Return the inputs and every Tensor computed from them."""
    found = set(inputs)
    for y in reversed(order):
        for x in y.node.inputs:  # type: ignore[union-attr]
            if isinstance(x, Tensor) and x in found:
                found.add(y)
                break
    return found


def _check_unchanged(node: Node) -> None:
    for x, array in zip(node.inputs, node.arrays, strict=True):
        if isinstance(x, Tensor) and x._array is not array:
            reason = f"{x._label()} was given new data after {node.primitive.name} was computed"
            raise RuntimeError(f"{reason}, so its gradient cannot be recorded; repeat the forward pass")


def _is_fresh(g: Any) -> bool:
    """Return whether an array was newly made by a rule: arrays of Tensors are read-only, and views have a base."""
    return type(g) is np.ndarray and g.base is None and g.flags.writeable


def _owned(g: Any, borrowed: bool, x: Tensor) -> Array:
    """Return a gradient that shares no memory with other arrays."""
    return np.array(g) if borrowed or not _is_fresh(g) else g


def _distinct(g: Tensor, borrowed: bool, x: Tensor) -> Tensor:
    """Return a gradient as a separate Tensor. If it is shared or a view, make another Tensor with the same node.

    A leaf has no node, and a node with a pullback is visited only once; in these cases a reshape makes an equal Tensor.
    """
    if borrowed or g._array.base is not None:
        same = g.reshape(g.shape) if g._requires_grad and (g.node is None or g.node.primitive.pullback) else g
        g = constant(np.array(same._array))
        g._requires_grad, g.node = same._requires_grad, same.node
    _name_cotangent(g, x)
    return g
