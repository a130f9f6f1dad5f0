"""The primitives that can be compiled, and how each is written in a kernel. To support another, add a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

CALL = 9

ELEMENTWISE: Mapping[str, tuple[str, int]] = {
    # A template and its precedence: conditional (0), and (1), comparison (2), sum (3), product (4), sign (5), power
    # (6), or call.
    "add": ("{0} + {1}", 3),
    "subtract": ("{0} - {1}", 3),
    "multiply": ("{0} * {1}", 4),
    "divide": ("{0} / {1}", 4),
    "negative": ("-{0}", 5),
    "power": ("{0} ** {1}", 6),
    "sqrt": ("sqrt({0})", CALL),
    "root": ("sqrt({0})", CALL),
    "rsqrt": ("one / sqrt({0})", 4),
    "exp": ("exp({0})", CALL),
    "expm1": ("expm1({0})", CALL),
    "log": ("log({0})", CALL),
    "log1p": ("log1p({0})", CALL),
    "tanh": ("tanh({0})", CALL),
    "sigmoid": ("sigmoid({0})", CALL),
    "sin": ("sin({0})", CALL),
    "cos": ("cos({0})", CALL),
    "erf": ("erf({0})", CALL),
    "absolute": ("abs({0})", CALL),
    "sign": ("sign({0})", CALL),
    "maximum": ("maximum({0}, {1})", CALL),
    "minimum": ("minimum({0}, {1})", CALL),
    "clip": ("minimum(maximum({0}, {1}), {2})", CALL),
    "finite": ("finite({0})", CALL),
    "isnan": ("isnan({0})", CALL),
    "isfinite": ("isfinite({0})", CALL),
    "where": ("{1} if {0} else {2}", 0),
    "bitwise_and": ("(({0}) and ({1}))", CALL),
    "bitwise_or": ("(({0}) or ({1}))", CALL),
    "bitwise_xor": ("{0} != {1}", 2),
    "logical_and": ("(({0}) and ({1}))", CALL),
    "logical_or": ("(({0}) or ({1}))", CALL),
    "invert": ("(not ({0}))", CALL),
    "logical_not": ("(not ({0}))", CALL),
    "equal": ("{0} == {1}", 2),
    "not_equal": ("{0} != {1}", 2),
    "less": ("{0} < {1}", 2),
    "less_equal": ("{0} <= {1}", 2),
    "greater": ("{0} > {1}", 2),
    "greater_equal": ("{0} >= {1}", 2),
}


def written(op: str, args: Sequence[Any], binding: int, write: Callable[[Any, int], str]) -> str:
    """Write an operation, in parentheses if its precedence is lower than ``binding``. ``write`` writes arguments."""
    template, own = ELEMENTWISE[op]
    # Nested conditionals, comparisons and powers need parentheses.
    inside = 0 if "(" in template else own + (own in (0, 2, 6))
    later = op in ("subtract", "divide")
    text = template.format(*(write(a, inside + (later and i > 0)) for i, a in enumerate(args)))
    return f"({text})" if own < binding else text


OF_BOOLEANS = {name for name in ELEMENTWISE if name.startswith(("bitwise", "logical", "invert"))}
"""Operations on conditions. Otherwise only where, astype and sum accept conditions."""

COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}

EXACT = {
    "absolute", "clip", "finite", "isfinite", "isnan", "max", "maximum", "min", "minimum", "negative", "sign", "where",
}  # fmt: skip
"""Operations without rounding: computed again from the same arguments, they give the same number."""

SAME = {"broadcast_to", "reshape", "transpose", "detach"}
"""Operations that only rearrange elements, which loops do without copying."""

RESERVED = {
    "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "sin", "cos", "erf", "abs", "sign", "maximum", "minimum",
    "finite", "isnan", "isfinite", "ordered_up", "ordered_down", "number", "min",
    "max", "inf", "nan", "one", "empty", "float32", "float64", "range", "start",
    "stop",
}  # fmt: skip
"""Names that have a meaning in kernels."""
