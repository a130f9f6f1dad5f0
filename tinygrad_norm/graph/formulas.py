"""Formulas of operations as text, for drawings and for the explorer.

An elementwise product is ``×``, a matrix product ``@``. Parentheses make every formula unambiguous.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .text import shortened

Words = Mapping[str, Any]
LONGEST = 30

# The precedence of a formula. An operand of lower precedence than its operation is put in parentheses.
PHRASE, COMPARISON, SUM, NEGATIVE, PRODUCT, TIGHT, POWER, ATOM = range(8)

_INFIX = {
    "add": ("+", SUM), "subtract": ("−", SUM), "multiply": ("×", PRODUCT), "divide": ("/", PRODUCT),
    "matmul": ("@", PRODUCT), "equal": ("=", COMPARISON), "not_equal": ("≠", COMPARISON), "less": ("<", COMPARISON),
    "less_equal": ("≤", COMPARISON), "greater": (">", COMPARISON), "greater_equal": ("≥", COMPARISON),
    "bitwise_and": ("and", COMPARISON), "logical_and": ("and", COMPARISON), "bitwise_or": ("or", COMPARISON),
    "logical_or": ("or", COMPARISON), "bitwise_xor": ("xor", COMPARISON), "logical_xor": ("xor", COMPARISON),
}  # fmt: skip
SIGNS = frozenset({"+", "×"})
COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum", "hypot", "logaddexp", "logaddexp2"})
_CALLED = {
    "maximum": "max", "minimum": "min", "cholesky": "Cholesky", "logabsdet": "log|det|", "invert": "not",
    "logical_not": "not",
}  # fmt: skip
_OVER = {
    "sum": "Σ", "mean": "mean", "max": "max", "min": "min", "cumsum": "cumulative Σ", "cumprod": "cumulative Π",
    "allreduce_sum": "Σ",
}  # fmt: skip
_RAISED = str.maketrans("0123456789−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class Formula(NamedTuple):
    """The name of a value, or the formula that computes it. ``strength`` is its precedence."""

    text: str
    strength: int = ATOM

    @property
    def enclosed(self) -> Formula:
        """The formula in parentheses."""
        return Formula(f"({self.text})")

    def at_least(self, strength: int) -> Formula:
        """Return the formula, in parentheses if its precedence is lower."""
        return self if self.strength >= strength else self.enclosed


_WORD = re.compile(r"(?:\d+\.)*[^\W\d](?:[^\W⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ]|[̀-ͯ.'′₀₁₂₃₄₅₆₇₈₉])*")
_SLOPE = re.compile(r"d\w+/d(?:[^\W]|[̀-ͯ.'′])+|d\w+/d\([^()]*\)")


def name(text: str) -> Formula:
    """Return the formula of a name. Names such as ``x−μ`` or ``σ²`` get a precedence, as they may need parentheses."""
    text = shortened(text)
    if _WORD.fullmatch(text) or re.fullmatch("‖[^‖]*‖", text):
        return Formula(text)
    if _SLOPE.fullmatch(text):
        return Formula(text, TIGHT)
    raised = _WORD.fullmatch(text.rstrip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ"))
    return Formula(text, POWER if raised else PHRASE)


def number(value: Any) -> Formula:
    """Return the formula of a constant, with 6 significant digits, or all digits of a whole number."""
    whole = isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15)
    text = str(value) if isinstance(value, bool) else str(int(value)) if whole else f"{value:.6g}"
    text = {"0.5": "½", "-0.5": "-½"}.get(text, text)
    text = text.replace("inf", "∞").replace("-", "−", text.startswith("-"))
    return Formula(text, NEGATIVE if text.startswith("−") else ATOM)


def slope(of: Formula) -> Formula:
    """Return ``∂L/∂(...)``."""
    return Formula(f"∂L/∂{of.at_least(POWER).text}", TIGHT)


_NOTHING: Words = {}


def operation(kind: str, operands: Sequence[Formula], words: Words = _NOTHING, symbol: str = "") -> Formula:
    """Return the formula of an operation.

    Parameters
    ----------
    kind : str
        The primitive's name.
    operands : sequence of Formulas
    words : mapping
        The static parameters: ``"over"`` has names of axes, ``"index"`` the parts of an index, as texts or as positions
        of operands, and so on.
    symbol : str, optional
        The name of a primitive that is not known here.
    """
    if kind in _INFIX and len(operands) == 2:
        return _infix(kind, *operands)
    if kind in _SPECIAL:
        return _SPECIAL[kind](operands, words)
    if kind in _OVER:
        return _phrase(_OVER[kind], words.get("over", ""), operands[0])
    return call(_CALLED.get(kind, symbol or kind), operands, words.get("options", ""))


def _infix(kind: str, a: Formula, b: Formula) -> Formula:
    text, level = _INFIX[kind]
    if level == COMPARISON:
        a, b = a.at_least(SUM), b.at_least(SUM)
    elif level == SUM:
        a, b = a.at_least(SUM), b.at_least(SUM if kind == "add" else PRODUCT)
        b = b.enclosed if b.text.startswith("−") else b
    else:
        # Products are left-associative, and a product of matrices is one factor.
        mixed = kind == "matmul" or " @ " in a.text
        a = a.at_least(TIGHT if mixed and not (kind == "matmul" and _is_product(a, "@")) else NEGATIVE)
        b = b if kind == "multiply" and _is_product(b, "×") else b.at_least(TIGHT)
    return Formula(f"{a.text} {text} {b.text}", level)


def _is_product(x: Formula, sign: str) -> bool:
    """Return whether a formula is a product with this sign only."""
    outside = re.sub(r"\([^()]*\)", "", x.text)
    return x.strength == PRODUCT and not set("/×@") - {sign} & set(outside) and not outside.startswith("−")


def call(called: str, operands: Sequence[Formula], *words: str) -> Formula:
    """Return ``called(operands, words)``."""
    given = [word for word in words if word]
    return Formula(f"{called}({', '.join([*(x.text for x in operands), *given])})")


def _phrase(word: str, over: str, x: Formula) -> Formula:
    head = f"{word} over {over}" if over else word
    return Formula(f"{head} of {x.at_least(TIGHT).text}", PHRASE)


def _power(operands: Sequence[Formula], words: Words) -> Formula:
    a, b = operands[0].at_least(ATOM), operands[1]
    whole = b.text.removeprefix("−").isdecimal()
    raised = b.text.translate(_RAISED) if whole else f"^{b.at_least(ATOM).text}"
    return Formula(a.text + raised, POWER)


def _square(operands: Sequence[Formula], words: Words) -> Formula:
    return _power([*operands, number(2)], words)


def _negative(operands: Sequence[Formula], words: Words) -> Formula:
    x = operands[0].at_least(PRODUCT)
    x = x.enclosed if x.text.startswith("−") else x
    return Formula(f"−{x.text}", NEGATIVE)


def _root(operands: Sequence[Formula], words: Words) -> Formula:
    return Formula(f"√{operands[0].at_least(ATOM).text}", POWER)


def _rsqrt(operands: Sequence[Formula], words: Words) -> Formula:
    return Formula(f"1/{_root(operands, words).text}", PRODUCT)


def _cbrt(operands: Sequence[Formula], words: Words) -> Formula:
    return Formula(f"∛{operands[0].at_least(ATOM).text}", POWER)


def _absolute(operands: Sequence[Formula], words: Words) -> Formula:
    (x,) = operands
    if "|" in x.text:
        return call("abs", operands)
    return Formula(f"|{x.text}|")


def _log1p(operands: Sequence[Formula], words: Words) -> Formula:
    return call("log", [_infix("add", number(1), operands[0])])


def _expm1(operands: Sequence[Formula], words: Words) -> Formula:
    return _infix("subtract", call("exp", operands), number(1))


def _transposed(operands: Sequence[Formula], words: Words) -> Formula:
    if words["axes"]:
        return call("transpose", operands, words["axes"])
    return Formula(f"{operands[0].at_least(ATOM).text}ᵀ", POWER)


def _indexed(operands: Sequence[Formula], words: Words) -> Formula:
    return Formula(f"{operands[0].at_least(ATOM).text}[{index_text(operands, words)}]")


def index_text(operands: Sequence[Formula], words: Words) -> str:
    """Return an index in NumPy's notation."""
    return ", ".join(operands[part].text if isinstance(part, int) else part for part in words["index"]) or "()"


def _scattered(operands: Sequence[Formula], words: Words) -> Formula:
    return call("scatter", operands[:1], f"[{index_text(operands, words)}]", words["shape"])


def _joined(word: str) -> Callable[[Sequence[Formula], Words], Formula]:
    return lambda operands, words: call(word, operands, f"along {words['over']}")


def _with(word: str, *keys: str) -> Callable[[Sequence[Formula], Words], Formula]:
    return lambda operands, words: call(word, operands, *(words[key] for key in keys))


def _einsum(operands: Sequence[Formula], words: Words) -> Formula:
    return call("einsum", [Formula(words["terms"]), *operands])


def _product(operands: Sequence[Formula], words: Words) -> Formula:
    return _phrase("Π", words.get("first", ""), operands[0])


_SPECIAL: dict[str, Callable[[Sequence[Formula], Words], Formula]] = {
    "power": _power, "square": _square, "negative": _negative, "sqrt": _root, "root": _root, "rsqrt": _rsqrt,
    "cbrt": _cbrt, "absolute": _absolute, "log1p": _log1p, "expm1": _expm1, "transpose": _transposed,
    "getitem": _indexed, "scatter": _scattered, "concatenate": _joined("concatenate"), "stack": _joined("stack"),
    "einsum": _einsum, "prod": _product,
    "reshape": _with("reshape", "shape"), "broadcast_to": _with("broadcast", "shape"), "astype": _with("cast", "dtype"),
    "pad": _with("pad", "width", "value"), "sliding_windows": _with("windows", "size", "stride"),
    "overlap_add": _with("overlap-add", "stride", "shape"),
}  # fmt: skip


# The rules of primitives, which are written with letters.


def rule(formula: str, names: Mapping[str, Formula]) -> Formula:
    """Return a primitive's rule, such as ``"-g * y / b"``, with its letters replaced. Words are kept."""
    start, comma, words = formula.partition(", repeated")
    try:
        found = _expression(ast.parse(start, mode="eval").body, names)
    except (SyntaxError, KeyError):
        return _in_words(formula, names)
    if not comma:
        return found
    return Formula(f"{found.text}, repeated{words}", PHRASE)


def factor(formula: str, names: Mapping[str, Formula]) -> Formula:
    """Return the factor of ``g`` in a rule, with its letters replaced: ``b`` for ``"g * b"``, 1 for ``"g"``."""
    start = formula.partition(", ")[0].removesuffix(" repeated")
    try:
        left = _without_g(ast.parse(start, mode="eval").body)
        return number(1) if left is None else _expression(left, names)
    except (SyntaxError, KeyError):
        return _in_words(formula, {**names, "g": number(1)})


def _without_g(node: ast.expr) -> ast.expr | None:
    """Return the factor of ``g`` in a product, or None if it is 1. Raise a KeyError if ``g`` is not a factor."""
    if isinstance(node, ast.Name) and node.id == "g":
        return None
    if isinstance(node, ast.UnaryOp):
        left = _without_g(node.operand)
        return ast.UnaryOp(node.op, ast.Constant(1) if left is None else left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        sides = (node.left, node.right)
        return next(side for side in sides if not (isinstance(side, ast.Name) and side.id == "g"))
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div)):
        raise KeyError(type(node).__name__)
    left = _without_g(node.left)
    if isinstance(node.op, ast.Mult) and isinstance(left, ast.UnaryOp) and isinstance(left.operand, ast.Constant):
        return ast.UnaryOp(left.op, node.right)
    if isinstance(node.op, ast.Mult) and left is None:
        return node.right
    return ast.BinOp(ast.Constant(1) if left is None else left, node.op, node.right)


def _in_words(text: str, names: Mapping[str, Formula]) -> Formula:
    """Return a text with its letters replaced."""
    pieces = [piece for piece in re.split(rf"\b({'|'.join(names)})\b", text) if piece]
    return Formula("".join(names[piece].text if piece in names else piece for piece in pieces), PHRASE)


_KINDS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
    ast.MatMult: "matmul",
}  # fmt: skip


def _expression(node: ast.expr, names: Mapping[str, Formula]) -> Formula:
    """Return the formula of a Python expression. Raise a KeyError for a kind that rules do not use."""
    if isinstance(node, ast.Name):
        return names.get(node.id) or name(node.id)
    if isinstance(node, ast.Attribute) and node.attr == "mT":
        return operation("transpose", [_expression(node.value, names)], {"axes": ""})
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return number(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return operation("negative", [_expression(node.operand, names)])
    if isinstance(node, ast.BinOp):
        return operation(_KINDS[type(node.op)], [_expression(node.left, names), _expression(node.right, names)])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return operation(node.func.id, [_expression(argument, names) for argument in node.args])
    raise KeyError(type(node).__name__)
