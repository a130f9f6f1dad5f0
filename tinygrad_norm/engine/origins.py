"""The origin of data: while a function is examined, operations without a gradient are recorded, too.

Otherwise comparisons return plain arrays, and operations without a gradient are not recorded. Drawings, the explorer
and the compiler need these operations. So while a function is examined, every computed Tensor has a node, and
comparisons and index functions return `Data`: Tensors that behave like arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .context import STATE, Scope, surrounding
from .operators import FUNCTIONS, Array, Method, plain
from .primitive import Node, Primitive
from .tensor import Tensor, constant, frozen, serial


def _on_numbers(ufunc: np.ufunc) -> Method:
    """Return an in-place operator that makes a new scalar, as for NumPy scalars, and refuses arrays."""

    def operator(self: Data, other: Any) -> Any:
        if self.ndim:
            raise TypeError("an array whose origin is recorded cannot be changed in place")
        return FUNCTIONS[ufunc](self, other)

    return operator


class Data(Tensor):
    """An array with a recorded origin. Operations that Tensors do not support run on the array, with plain results."""

    __slots__ = ()

    is_data = True
    # So that `isinstance` sees an array or a NumPy scalar, as it does outside of an examination.
    __class__ = property(lambda self: type(self._array[()]))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self._array, dtype, copy=copy)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array, name)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc in FUNCTIONS or not _are_data(inputs):
            return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)
        return getattr(ufunc, method)(*plain(inputs), **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in FUNCTIONS or not all(issubclass(kind, Data) for kind in types if issubclass(kind, Tensor)):
            return super().__array_function__(function, types, args, kwargs)
        return function(*plain(args), **{key: plain(value) for key, value in kwargs.items()})

    def __index__(self) -> int:
        return self._array.__index__()

    def __str__(self) -> str:
        return str(self._array[()])

    def __format__(self, spec: str) -> str:
        return format(self._array[()], spec)

    def __and__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](self, other)

    def __or__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](self, other)

    def __xor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__
    __iadd__, __isub__, __imul__ = map(_on_numbers, (np.add, np.subtract, np.multiply))
    __itruediv__, __ifloordiv__, __imod__ = map(_on_numbers, (np.divide, np.floor_divide, np.remainder))
    __iand__, __ior__, __ixor__ = map(_on_numbers, (np.bitwise_and, np.bitwise_or, np.bitwise_xor))
    __ipow__ = _on_numbers(np.power)

    def __invert__(self) -> Any:
        return FUNCTIONS[np.invert](self)


class Trail(list[Any]):
    """The Tensors that an examined function computes, in order, and the innermost scope that raised an error."""

    error: BaseException | None = None
    scope: Scope | None = None

    def clear(self) -> None:
        super().clear()
        self.error = self.scope = None

    def left(self, scope: Scope | None, error: BaseException) -> None:
        if self.error is not error:
            self.error, self.scope = error, scope


Failed = Callable[[Exception, Exception, Trail], None]


def examine(fn: Callable[..., Any], *inputs: Any, failed: Failed | None = None, trail: Trail | None = None) -> Any:
    """Return ``fn(*inputs)``, recorded with the origins of data.

    Recording origins can make a function fail, for example if it tests for an exact array type; it then runs again
    without them. If the function itself fails, ``failed(error, same, trail)`` is called before its error is raised:
    ``trail`` holds the Tensors computed before ``same``, an equal error. Without ``failed``, the Tensors computed are
    appended to the given ``trail``.
    """
    seen = None
    own = Trail(), Trail()
    first, second = own if failed else (trail, trail)
    try:
        try:
            with surrounding(recording=True, examined=True, origins=True, trail=first):
                return fn(*inputs)
        except Exception as error:
            seen = error  # if it is the function's own error, it is raised again below
        with surrounding(recording=True, examined=True, trail=second):
            return fn(*inputs)
    except Exception as error:
        if failed and type(error) is type(seen) and str(error) == str(seen):
            failed(error, seen, own[0])
        elif failed:
            failed(error, error, own[1])
        raise
    finally:
        del seen  # its traceback refers to this frame, and nodes refer to their trail: break both cycles
        for each in own:
            each.clear()


def _are_data(inputs: Iterable[Any]) -> bool:
    """Return whether all Tensors among the inputs of an operation are Data."""
    return all(isinstance(x, Data) for x in inputs if isinstance(x, Tensor))


def _is_writeable(x: Any) -> bool:
    return isinstance(x, np.ndarray) and bool(x.flags.writeable)


def remember(
    output: Any,
    primitive: Primitive,
    inputs: tuple[Any, ...],
    static: Mapping[str, Any],
    needed: bool = False,
    kind: type[Tensor] | None = None,
) -> Tensor:
    """Return a Tensor with a node, whether or not it needs a gradient; Data if all inputs are data."""
    inputs = tuple([frozen(x) if isinstance(x, list) or _is_writeable(x) else x for x in inputs])
    arrays = tuple([x._array if isinstance(x, Tensor) else x for x in inputs])
    result = constant(output, kind=kind or (Data if _are_data(inputs) else None))
    result._requires_grad = needed
    state = STATE.get()
    result.node = Node(primitive, inputs, arrays, static, state, serial())
    if state.trail is not None:
        state.trail.append(result)
    return result


_DETACH = Primitive("detach", "detach", lambda x: x)

FUNCTIONS |= {"remember": remember, "detach": lambda x: remember(x._array, _DETACH, (x,), {}, kind=Tensor)}
