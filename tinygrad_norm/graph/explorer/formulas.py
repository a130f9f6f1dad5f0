"""Formulas of recorded operations, as text and as trees of MathML elements.

A tree is ``(tag, child, ...)`` where a child is a tree or a text. The page builds elements from it and puts texts in as
text, so a name is never markup.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Tree = tuple[Any, ...]
LONGEST = 30

_SIGNS = {"add": "+", "subtract": "−", "multiply": "×"}


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


def name(text: str) -> Formula:
    """Return the formula of something that has a name; one such as ``x−μ`` is a compound."""
    return Formula(text, ("mi", text), any(sign in text for sign in "+−-×*/ "))


def number(value: float) -> Formula:
    """Return the formula of a constant."""
    text = f"{value:g}"
    return Formula(text, ("mn", text), value < 0)


def slope(of: Formula) -> Formula:
    """Return ``∂L/∂(...)``."""
    return Formula(f"∂L/∂{of.enclosed.text}", ("mfrac", ("mi", "∂L"), row(("mo", "∂"), of.enclosed.tree)))


def operation(kind: str, symbol: str, operands: Sequence[Formula], over: str = "") -> Formula:
    """Return the formula of an operation on operands; ``over`` names the axes of a reduction."""
    if kind in _SIGNS and len(operands) == 2:
        # What is subtracted, and what is multiplied, needs parentheses around a sum.
        a, b = operands[0], operands[1] if kind == "add" else operands[1].enclosed
        a = a.enclosed if kind == "multiply" else a
        return Formula(f"{a.text} {_SIGNS[kind]} {b.text}", row(a.tree, sign(_SIGNS[kind]), b.tree), True)
    if kind == "divide" and len(operands) == 2:
        a, b = operands
        text = f"{a.enclosed.text} / {b.enclosed.text}"
        # A fraction over a number is easier to read beside it.
        beside = row(("mfrac", ("mn", "1"), b.tree), sign("·"), a.enclosed.tree)
        return Formula(text, beside if b.tree[0] == "mn" else ("mfrac", a.tree, b.tree), True)
    if kind in ("square", "sqrt", "rsqrt", "negative", "sum", "mean"):
        return _unary(kind, operands[0], over)
    inside = ", ".join(operand.text for operand in operands)
    trees = [part for operand in operands for part in (sign(","), operand.tree)][1:]
    return Formula(f"{symbol}({inside})", row(("mi", symbol), sign("("), *trees, sign(")")))


def _unary(kind: str, x: Formula, over: str) -> Formula:
    if kind == "square":
        return Formula(f"{x.enclosed.text}²", ("msup", x.enclosed.tree, ("mn", "2")))
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
    start, comma, words = formula.partition(",")
    try:
        found = _expression(ast.parse(start, mode="eval").body, names)
    except (SyntaxError, KeyError):
        return Formula(formula, ("mtext", formula), True)
    if not comma:
        return found
    return Formula(f"{found.text},{words}", row(found.tree, ("mtext", f",\u00a0{words.strip()}")), True)


def _expression(node: ast.expr, names: Mapping[str, Formula]) -> Formula:
    """Return a Python expression of the kinds that rules are written in; KeyError for any other."""
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return number(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return operation("negative", "−", [_expression(node.operand, names)])
    if isinstance(node, ast.BinOp):
        a, b = _expression(node.left, names), _expression(node.right, names)
        if isinstance(node.op, ast.Pow):
            return Formula(f"{a.enclosed.text}^{b.enclosed.text}", ("msup", a.enclosed.tree, b.tree))
        kinds: dict[type[ast.operator], str] = {
            ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
        }  # fmt: skip
        return operation(kinds[type(node.op)], "", [a, b])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return operation(node.func.id, node.func.id, [_expression(argument, names) for argument in node.args])
    raise KeyError(type(node).__name__)
