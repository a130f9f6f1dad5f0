"""Name the boxes of a picture, so that every formula uses names that the picture shows."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import count
from typing import Any

from ..engine.tensor import slope_name
from .expressions import Expression, Operand, name_of_data
from .formulas import COMMUTATIVE, Formula, name, number, operation
from .model import Edge, Graph, Vertex
from .scopes import place

# The placeholder in a formula for its only operand without a name.
UNNAMED = "•"
_UNNAMED = Formula(UNNAMED)
# Formulas that a box shortens: it omits the only operand and the shape of the result.
_SHORT = re.compile(rf"(reshape|broadcast)\({UNNAMED}, [^()]*\)|([\w|-]+)\({UNNAMED}\)|([^()]+) of {UNNAMED}")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def written(graph: Graph) -> Graph:
    """Return the graph with the names and formulas that a picture shows.

    A formula names its operands. A single operand without a name is a dot. Several without names become ``t₁``, ``t₂``,
    and equal names get numbers: ``h₁``. Parameters with equal names are qualified by their scopes: ``encoder.weight``.
    """
    names = _qualified(graph)
    into = graph.inputs_of()
    for order in sorted({v.order for v in graph.vertices}):
        names |= _slopes(graph, names, order)
        ambiguous = {
            i
            for v in graph.vertices
            if v.expression is not None and not says_enough_by_its_sign(v.expression)
            for i in _ambiguous(v.expression, into[v.id], names)
            if graph.vertices[i].order == order
        }
        taken = {*names.values()}
        for i in sorted(ambiguous):
            called = graph.vertices[i].name or "t"
            numbered = (called + str(k).translate(_SUBSCRIPTS) for k in count(1))
            names[i] = next(text for text in numbered if text not in taken)
            taken.add(names[i])
    return replace(graph, vertices=tuple(_named(v, into[v.id], names) for v in graph.vertices))


def _qualified(graph: Graph) -> dict[int, str]:
    """Return the names of vertices. Data without a name are called "mask", "index" or "data"."""
    names = {v.id: v.name for v in graph.vertices if v.name}
    indices = {e.source for e in graph.edges if graph.vertices[e.target].operation in ("getitem", "scatter")}
    for v in graph.vertices:
        if v.operation is None and not v.name:
            names[v.id] = name_of_data(v.dtype) if v.dtype == "bool" or v.id in indices else "data"
    met = Counter(v.name for v in graph.vertices if v.operation is None)
    for v in graph.vertices:
        if v.parameter and v.name and met[v.name] > 1:
            scopes = [graph.scopes[s] for s in v.scope]
            # The path of the innermost module is relative to the whole network.
            module = next(filter(None, map(place, reversed(scopes))), ".".join(scopes))
            names[v.id] = f"{module}.{v.name}" if module else v.name
    return names


def _slopes(graph: Graph, names: dict[int, str], order: int) -> dict[int, str]:
    """Return the names of gradients, from the names of the differentiated vertices, and of their seeds."""
    found: dict[int, str] = {}
    for v in graph.vertices:
        if v.order == order and v.slope_of is not None and (of := names.get(v.slope_of)) and v.name:
            same = v.name == slope_name(graph.vertices[v.slope_of].name or "", order)
            found[v.id] = slope_name(of, order) if same else v.name
    seeds = {v.id: v.name for v in graph.vertices if v.order == order and v.operation is None and v.name}
    return found | {i: f"{name} (seed)" for i, name in seeds.items() if name in found.values()}


def says_enough_by_its_sign(expression: Expression) -> bool:
    """Return whether an operation is commutative, so that its sign and its edges suffice."""
    return (
        expression.kind in COMMUTATIVE
        and len(expression.operands) == 2
        and all(isinstance(x, Operand) for x in expression.operands)
    )


def _reciprocal(factor: Any) -> int:
    """Return the divisor for a factor such as 0.3333, or 0 for a half and for any other factor."""
    whole = round(1 / factor) if isinstance(factor, float) and 1e-6 < factor < 0.4 else 0
    return whole if abs(whole * factor - 1) < 1e-6 else 0


def _ambiguous(expression: Expression, edges: list[Edge], names: dict[int, str]) -> list[int]:
    """Return the operands of a formula whose names are not unique."""
    source = {edge.operand: edge.source for edge in edges}
    sources = {source[position] for position in expression.leaves()}
    met = Counter(map(names.get, sources))
    return [i for i in sources if met[names.get(i)] > 1]


def _named(vertex: Vertex, edges: list[Edge], names: dict[int, str]) -> Vertex:
    called = names.get(vertex.id, "")
    if vertex.expression is None:
        return replace(vertex, called=called)
    return replace(vertex, called=called, text=_text(vertex.expression, edges, names))


def _text(expression: Expression, edges: list[Edge], names: dict[int, str]) -> str:
    """Return the formula of a box, without operands that are clear from its edges."""
    if says_enough_by_its_sign(expression):
        found = expression.formula(lambda position: _UNNAMED).text
        return found.removeprefix(f"{UNNAMED} ").removesuffix(f" {UNNAMED}")
    numbers = [x for x in expression.operands if not isinstance(x, Operand | Expression)]
    if expression.kind in ("add", "multiply") and numbers and Operand(0) in expression.operands:
        if expression.kind == "multiply" and (whole := _reciprocal(*numbers)):
            return operation("divide", [_UNNAMED, number(whole)]).text
        # The side of a constant does not matter either.
        return operation(expression.kind, [_UNNAMED, number(*numbers)]).text.removeprefix(f"{UNNAMED} ")
    source = {edge.operand: edge.source for edge in edges}

    def called(position: int) -> Formula:
        found = names.get(source[position])
        return name(found) if found and len(source_ids) > 1 else _UNNAMED

    source_ids = {*source.values()}
    found = expression.formula(called).text
    short = _SHORT.fullmatch(found)
    return next(filter(None, short.groups())) if short else found
