"""The arguments of a function: their names, constants, and values that it reads from outside."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from keyword import iskeyword
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType, NoneType
from typing import Any

import numpy as np

from ..engine.operators import Array
from ..engine.tensor import Tensor
from .primitives import RESERVED
from .unknown import UnfusableError


def parameter_names(fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> list[str]:
    """Return a name for each argument that a kernel can use: that of the parameter, if there is one."""
    parameters = _parameters(fn)
    found: list[str] = []
    for i, name in enumerate([None] * len(args) + list(options)):
        if name is None:
            own = parameters[i] if i < len(parameters) else None
            positional = own and own.kind in (own.POSITIONAL_ONLY, own.POSITIONAL_OR_KEYWORD)
            name = own.name if own and positional else "x"  # noqa: PLW2901
        stem = name if name.isascii() and not iskeyword(name) else "x"
        stem = f"{stem}_" if stem in RESERVED else stem
        stem = f"given_{stem}" if stem.startswith(("g_", "saved_")) else stem
        number, unique = 2, stem
        while unique in found:
            unique, number = f"{stem}{number}", number + 1
        found.append(unique)
    return found


def numbers_of(fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, float]:
    """Return the float arguments of a function, including defaults, by parameter name."""
    try:
        bound = inspect.signature(fn).bind(*args, **options)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    return {name: x for name, x in bound.arguments.items() if type(x) is float and name.isascii()}


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return []


def example(fn: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of a typical call of a norm: images, or rows of features."""
    images, rows, c = (np.broadcast_to(np.float32(0), shape) for shape in ((4, 6, 5, 5), (4, 6), (6,)))
    affine = {"weight": c, "bias": c}
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "batch_norm": ((images,), affine),
        "instance_norm": ((images,), affine),
        "group_norm": ((images, 2), affine),
        "layer_norm": ((rows, 6), affine),
        "rms_norm": ((rows, 6), {"weight": c, "eps": 1e-5}),
        "normalize": ((images, "n c h w -> c"), {}),
    }
    is_norm = getattr(fn, "__module__", "").endswith(".norm.functional")
    return calls.get(fn.__name__) if is_norm else None


# Constants.

_PLAIN = (NoneType, bool, int, str, bytes, type)


def constant_key(x: Any) -> Any:
    """Return a key that distinguishes constants, such as 0.0 from -0.0 and 1 from True, or None for mutable values."""
    kind = type(x)
    if kind in _PLAIN or isinstance(x, np.dtype):
        return kind, x
    if kind is float or isinstance(x, np.generic):
        return kind, repr(x)
    if kind in (tuple, list, dict, slice):
        inside = x.items() if kind is dict else x if kind is not slice else (x.start, x.stop, x.step)
        parts = [constant_key(part) for part in inside]
        return None if any(part is None for part in parts) else (kind, *parts)
    return None


# Values that a function reads from outside.


def outside(fn: Callable[..., Any]) -> tuple[Callable[[], tuple[Any, ...]], str]:
    """Return a function that looks up the constants that ``fn`` reads from outside, and a reason if there are others.

    Numbers are looked up in each call, because they may change. Mutable values are refused.
    """
    try:
        places = list(_places(fn, set()))
    except UnfusableError as error:
        return tuple, str(error)
    return lambda: tuple([constant_key(look()) for look in places]), ""


def _places(fn: Any, seen: set[Any]) -> Iterator[Callable[[], Any]]:
    if isinstance(fn, partial):
        for value in (*fn.args, *fn.keywords.values()):
            yield from _place("an argument of a partial", partial(_same, value), seen)
        yield from _places(fn.func, seen)
        return
    if _is_known(fn):
        return
    if not isinstance(fn, FunctionType):
        raise UnfusableError("the function is a method or an object, whose attributes may change")
    if fn in seen:
        return
    seen.add(fn)
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        yield from _place(name, partial(_content, cell), seen)
    for name in _globals(fn.__code__):
        if name in fn.__globals__:
            yield from _place(name, partial(fn.__globals__.get, name), seen)
    for value in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
        yield from _place("a default", partial(_same, value), seen)


def _is_known(value: Any) -> bool:
    """Return whether a value is a module, a class, or a function of NumPy or of this package."""
    if isinstance(value, ModuleType | BuiltinFunctionType | np.ufunc | type):
        return True
    return callable(value) and (getattr(value, "__module__", None) or "").startswith(_KNOWN)


_KNOWN = ("tinygrad_norm.engine", "tinygrad_norm.norm", "numpy")


def _same(x: Any) -> Any:
    return x


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not bound yet
        return None


def _globals(code: CodeType) -> set[str]:
    """Return the global names that a function and its nested functions read."""
    inside = [part for part in code.co_consts if isinstance(part, CodeType)]
    own = {step.argval for step in dis.get_instructions(code) if step.opname.startswith("LOAD_GLOBAL")}
    return own.union(*map(_globals, inside))


def _place(name: str, look: Callable[[], Any], seen: set[Any]) -> Iterator[Callable[[], Any]]:
    value = look()
    if _is_known(value):
        return
    if isinstance(value, FunctionType | partial):
        yield from _places(value, seen)
        return
    if constant_key(value) is None:
        raise UnfusableError(
            f"the function reads {name}, which is not among its arguments and may change; pass it as an argument"
        )
    yield look


# Results.


def several(x: Any) -> Sequence[Any]:
    """Return one or several results as a sequence."""
    return x if isinstance(x, tuple | list) else (x,)


def kernel_name(name: str) -> str:
    """Return a name for a kernel that differs from those of the functions that it calls."""
    return f"{name}_" if name in RESERVED else name


def checked(out: Any, inputs: Sequence[Any], shapes: Sequence[tuple[int, ...]], *dtypes: Any) -> Sequence[Array]:
    """Return the arrays of ``out=``, after checking that they fit the results."""
    given = several(out)
    if any(isinstance(x, Tensor) for x in inputs):
        raise TypeError("out= is for arrays only: a recorded Tensor owns its array")
    if len(given) != len(shapes):
        raise ValueError(f"out= expects {len(shapes)} arrays, one for each result, got {len(given)}")
    for i, (target, shape) in enumerate(zip(given, shapes, strict=True)):
        if type(target) is not np.ndarray or target.shape != shape or target.dtype not in dtypes:
            raise ValueError(f"out= expects an array of shape {shape} and dtype {dtypes[0]}")
        if not (target.flags.c_contiguous and target.flags.writeable):
            raise ValueError("out= expects a writeable array in C order")
        others = [x for x in (*inputs, *given[:i]) if isinstance(x, np.ndarray)]
        if any(np.may_share_memory(target, x) for x in others):
            raise ValueError("out= must not share memory with an input or with another result")
    return given
