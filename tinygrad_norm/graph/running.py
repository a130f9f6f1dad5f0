"""Run a function in order to draw it, and find the operation that failed if it raises an error."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from ..check.leaves import parts
from ..engine.context import STATE
from ..engine.origins import Data, Failed, Trail, examine
from ..engine.primitive import PRIMITIVES, Primitive
from ..engine.recording import COMPOSED
from ..engine.tensor import Tensor, constant
from .model import Refusal
from .text import in_words

_HERE, _NUMPY = Path(__file__).parent.parent, Path(np.__file__).parent


def run(fn: Callable[..., Any], inputs: Sequence[Any], failed: Failed) -> list[Tensor]:
    """Run a function and return its Tensors, recorded with the origins of data.

    Floating-point arrays become Tensors that require gradients, named after the function's parameters. Other arrays
    are data. All other inputs are passed unchanged.
    """
    given = [_given(x, name) for name, x in zip(_names(fn, len(inputs)), inputs, strict=True)]

    def call() -> Any:
        # A function that does not work with Data is run again without origins.
        origins = STATE.get().origins
        return fn(*(x.numpy() if type(x) is Data and not origins else x for x in given))

    def stopped(error: Exception, same: Exception, trail: Trail) -> None:
        trail[:0] = [x for x in given if isinstance(x, Tensor)]
        failed(error, same, trail)

    y = examine(call, failed=stopped)
    if tensors := list(parts(y, Tensor)):
        return tensors
    raise TypeError(f"the function must return one or several Tensors to draw, but it returned {type(y).__name__}")


def _given(x: Any, name: str | None) -> Any:
    if isinstance(x, Tensor) or not isinstance(x, np.ndarray):
        return x
    return Tensor(x, requires_grad=True, name=name) if x.dtype.kind == "f" else constant(x.copy(), name, Data)


def _names(fn: Callable[..., Any], count: int) -> list[str | None]:
    """Return the names of the function's parameters, or None for each unknown one."""
    try:
        parameters = inspect.signature(getattr(fn, "forward", fn)).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*names[:count], *(None for _ in range(count - len(names)))]


def without_consumers(trail: Sequence[Tensor]) -> list[Tensor]:
    """Return the Tensors that none of the others was computed from."""
    used = {x for y in trail if y.node is not None for x in y.node.inputs if isinstance(x, Tensor)}
    return [y for y in trail if y not in used]


def in_lines(error: Exception) -> str:
    """Return a caption for an error: its type and the first line of its message, in at most three lines."""
    first = str(error).strip().split("\n", 1)[0]
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return "\n".join(textwrap.wrap(said, 78, max_lines=3, placeholder=" …"))


# The failed operation is found in the traceback, so that running functions need no bookkeeping.


def refusal(error: Exception, trail: Trail) -> Refusal | None:
    """Return the operation of this package that raised an error, or None if the function's own code raised it."""
    frames = _after_the_functions_own(_frames(error))
    if not frames:
        return None
    first = max((i for i, frame in enumerate(frames) if frame.f_code.co_name == "__call__"), default=0)
    operation = _trailing(frames[first:], "engine") or [frames[first]]
    arithmetic = operation[0] is not frames[first] or _is_in(operation[0], "engine")
    operands = [x for x in _operands(operation) if arithmetic or _is_array(x)]
    return Refusal(
        _name(operation) if arithmetic else _called(operation[0]),
        ", ".join(map(_in_words, operands)),
        type(error).__name__,
        tuple(operands),
        trail.scope if trail.error is error else None,
    )


def _frames(error: Exception) -> list[FrameType]:
    """Return the frames inside `run`, outermost first."""
    frames, step = [], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is not COMPOSED:
            frames.append(step.tb_frame)
        step = step.tb_next
    ours = [i for i, frame in enumerate(frames) if frame.f_code.co_filename == __file__]
    return frames[max(ours, default=-1) + 1 :]


def _after_the_functions_own(frames: list[FrameType]) -> list[FrameType]:
    """Return the frames of this package after the innermost frame of other code. NumPy's frames count as ours."""
    own = [i for i, frame in enumerate(frames) if not _is_in(frame) and not _is_numpys(frame)]
    rest = frames[max(own, default=-1) + 1 :]
    return rest if any(map(_is_in, rest)) else []


def _trailing(frames: list[FrameType], room: str) -> list[FrameType]:
    """Return the last frames that are in one subpackage, or in NumPy."""
    elsewhere = [i for i, frame in enumerate(frames) if not _is_in(frame, room) and not _is_numpys(frame)]
    return frames[max(elsewhere, default=-1) + 1 :]


def _is_in(frame: FrameType, room: str = "") -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(_HERE / room)


def _is_numpys(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(_NUMPY)


def _name(frames: list[FrameType]) -> str:
    """Return the symbol or the name of the engine's operation."""
    for frame in frames:
        if isinstance(primitive := frame.f_locals.get("primitive"), Primitive):
            return primitive.symbol
        name = frame.f_code.co_name
        if name in frame.f_globals.get("__all__", ()):
            return PRIMITIVES[name].symbol if name in PRIMITIVES else name
    return _called(frames[0])


def _called(frame: FrameType) -> str:
    """Return the name of a layer, of a NumPy function, or of the frame's function."""
    if frame.f_code.co_name == "__call__":
        return type(frame.f_locals["self"]).__name__
    function = frame.f_locals.get("ufunc") or frame.f_locals.get("function")
    return getattr(function, "__name__", frame.f_code.co_name.strip("_"))


def _operands(frames: list[FrameType]) -> list[Any]:
    """Return the arrays, numbers and strings that an operation was given, in order."""
    # The frames of NumPy's protocols have other arguments, so the next frame is used.
    frame = next((f for f in frames if f.f_code.co_name not in ("__array_ufunc__", "__array_function__")), frames[0])
    names, several, keywords, values = inspect.getargvalues(frame)
    # A reflected operator receives its right operand first.
    given = [values[name] for name in (("a", "b") if names == ["b", "a"] else names)]
    given += [*values.get(several or "", ()), *values.get(keywords or "", {}).values()]
    if frame.f_code.co_name == "_dispatch":
        given = [*values["args"], *values["kwargs"].values()]
    parts = (part for x in given for part in (x if isinstance(x, list | tuple) and any(map(_is_array, x)) else [x]))
    return [
        x
        for x in parts
        if _is_array(x) or (isinstance(x, int | float | str | list | tuple) and not isinstance(x, bool))
    ]


def _is_array(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray)


def _in_words(x: Any) -> str:
    return in_words(x.shape) if _is_array(x) else textwrap.shorten(str(x), 24, placeholder="…")
