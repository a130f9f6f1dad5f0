"""Formulas of recorded operations, as text and as trees of MathML elements.

A tree is ``(tag, child, ...)`` where a child is a tree or a text. The page builds elements from it and puts texts in as
text, so a name is never markup.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..dot import LONGEST_NAME

Tree = tuple[Any, ...]
LONGEST = 30

_SIGNS = {
    "add": "+", "subtract": "−", "multiply": "×", "matmul": "·", "equal": "=", "not_equal": "≠", "less": "<",
    "less_equal": "≤", "greater": ">", "greater_equal": "≥", "bitwise_and": "and", "bitwise_or": "or",
}  # fmt: skip
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_AROUND = {
    "absolute": ("|", "|"), "log1p": ("log(1 + ", ")"), "expm1": ("exp(", ") − 1"), "maximum": ("max(", ")"),
    "minimum": ("min(", ")"), "getitem": ("", "[…]"),
}  # fmt: skip


class Formula(NamedTuple):
    """What a value is called or computed by."""

    text: str
    tree: Tree
    is_compound: bool = False

    @property
    def enclosed(self) -> Formula:
        """The same in parentheses, if it has several parts."""
        if not self.is_compound:
            return self
        return Formula(f"({self.text})", row(sign("("), self.tree, sign(")")))


def row(*parts: Any) -> Tree:
    return ("mrow", *parts)


def sign(text: str) -> Tree:
    return ("mo", text)


def shortened(text: str) -> str:
    """Return a text of at most 80 characters."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def name(text: str) -> Formula:
    """Return the formula of something that has a name; one such as ``x−μ`` is a compound."""
    text = shortened(text)
    return Formula(text, ("mi", text), any(sign in text for sign in "+−-×*/ "))


def number(value: float) -> Formula:
    """Return the formula of a constant."""
    text = f"{value:g}".replace("-", "−")
    return Formula(text, ("mn", text), value < 0)


def slope(of: Formula) -> Formula:
    """Return ``∂L/∂(...)``."""
    return Formula(f"∂L/∂{of.enclosed.text}", ("mfrac", ("mi", "∂L"), row(("mo", "∂"), of.enclosed.tree)))


def operation(kind: str, symbol: str, operands: Sequence[Formula], over: str = "") -> Formula:
    """Return the formula of an operation on operands; ``over`` names the axes of a reduction."""
    if kind in _SIGNS and len(operands) == 2:
        # What is subtracted, and what is multiplied, needs parentheses around a sum.
        a, b = operands[0], operands[1] if kind == "add" else operands[1].enclosed
        a = a if kind in ("add", "subtract") else a.enclosed
        return Formula(f"{a.text} {_SIGNS[kind]} {b.text}", row(a.tree, sign(_SIGNS[kind]), b.tree), True)
    if kind == "divide" and len(operands) == 2:
        a, b = operands
        text = f"{a.enclosed.text} / {b.enclosed.text}"
        # A fraction over a number is easier to read beside it.
        beside = row(("mfrac", ("mn", "1"), b.tree), sign("·"), a.enclosed.tree)
        return Formula(text, beside if b.tree[0] == "mn" else ("mfrac", a.tree, b.tree), True)
    if kind == "power" and len(operands) == 2:
        a, b = _base(operands[0]), operands[1]
        raised = b.text.translate(_RAISED) if b.text.isdecimal() else f"^{b.enclosed.text}"
        return Formula(a.text + raised, ("msup", a.tree, b.tree))
    if kind in ("square", "sqrt", "rsqrt", "negative", "sum", "mean"):
        return _unary(kind, operands[0], over)
    if kind == "getitem":
        operands = [operands[0].enclosed]
    before, after = _AROUND.get(kind, (f"{symbol}(", ")"))
    inside = ", ".join(operand.text for operand in operands)
    trees = [part for operand in operands for part in (sign(","), operand.tree)][1:]
    return Formula(f"{before}{inside}{after}", row(("mi", before), *trees, ("mi", after)), kind == "expm1")


def _base(x: Formula) -> Formula:
    """Return what can have a superscript: what has one already gets parentheses."""
    return x._replace(is_compound=x.is_compound or x.tree[0] == "msup").enclosed


def _unary(kind: str, x: Formula, over: str) -> Formula:
    if kind == "square":
        x = _base(x)
        return Formula(f"{x.text}²", ("msup", x.tree, ("mn", "2")))
    if kind == "negative":
        return Formula(f"−{x.enclosed.text}", row(sign("−"), x.enclosed.tree), True)
    if kind in ("sqrt", "rsqrt"):
        root: Tree = ("msqrt", x.tree)
        text = f"√{x.enclosed.text}"
        return Formula(text, root) if kind == "sqrt" else Formula(f"1/{text}", ("mfrac", ("mn", "1"), root), True)
    word = "Σ" if kind == "sum" else "mean"
    head: Tree = ("msub", ("mi", word), ("mtext", over)) if over else ("mi", word)
    return Formula(
        f"{word}{f' over {over}' if over else ''} of {x.enclosed.text}", row(head, sign("("), x.tree, sign(")"))
    )


def rule(formula: str, names: Mapping[str, Formula]) -> Formula:
    """Return a primitive's rule, such as ``"-g * y / b"``, with what its letters stand for; words stay words."""
    start, comma, words = formula.partition(", repeated")
    try:
        found = _expression(ast.parse(start, mode="eval").body, names)
    except (SyntaxError, KeyError):
        return _in_words(formula, names)
    if not comma:
        return found
    return Formula(f"{found.text}, repeated{words}", row(found.tree, ("mtext", f",\u00a0repeated{words}")), True)


def _in_words(text: str, names: Mapping[str, Formula]) -> Formula:
    """Return words with their letters replaced by what these stand for."""
    pieces = [piece for piece in re.split(rf"\b({'|'.join(names)})\b", text) if piece]
    found = [names.get(piece) or Formula(piece, ("mtext", piece.replace(" ", "\u00a0"))) for piece in pieces]
    return Formula("".join(part.text for part in found), row(*(part.tree for part in found)), True)


def _expression(node: ast.expr, names: Mapping[str, Formula]) -> Formula:
    """Return a Python expression of the kinds that rules are written in; KeyError for any other."""
    if isinstance(node, ast.Name):
        return names.get(node.id) or name(node.id)
    if isinstance(node, ast.Attribute) and node.attr == "mT":
        of = _base(_expression(node.value, names))
        return Formula(f"{of.text}ᵀ", ("msup", of.tree, ("mi", "T")))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return number(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return operation("negative", "−", [_expression(node.operand, names)])
    if isinstance(node, ast.BinOp):
        a, b = _expression(node.left, names), _expression(node.right, names)
        kinds: dict[type[ast.operator], str] = {
            ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
            ast.MatMult: "matmul",
        }  # fmt: skip
        return operation(kinds[type(node.op)], "", [a, b])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return operation(node.func.id, node.func.id, [_expression(argument, names) for argument in node.args])
    raise KeyError(type(node).__name__)
