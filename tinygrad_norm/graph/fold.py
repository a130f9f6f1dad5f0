"""The slide view: a graph with reshapes, broadcasts, transposes and casts folded into edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile

from .expressions import BROADCASTING, Expression, Operand
from .model import Edge, Graph, Vertex
from .naming import says_enough_by_its_sign
from .text import in_words

_BOOKKEEPING = {"reshape": "reshape", "broadcast_to": "broadcast", "transpose": "transpose", "astype": "cast"}
_UNSAID = _BOOKKEEPING["broadcast_to"]
# Operations whose formulas show a transposed operand: "Q @ Kᵀ".
_OF_MATRICES = ("matmul", "solve")
MOST_OPERANDS = 4
"""The most operands of an operation that is written into another formula. A longer one stays a box."""


def fold(graph: Graph) -> Graph:
    """Fold reshapes, broadcasts, transposes and casts into labels of edges, and each gradient rule into one vertex.

    Vertices with a name and requested outputs are kept.
    """
    graph = _with_formulas_of(graph, _inside_rules(graph))
    graph = _with_formulas_of(graph, _transposes(graph))
    return _without_bookkeeping(graph)


def _is_free(graph: Graph, v: Vertex) -> bool:
    """Return whether a vertex may be folded: it was computed, has no name and is not an output."""
    return v.expression is not None and v.name is None and v.id not in graph.outputs


def _inside_rules(graph: Graph) -> set[int]:
    """Return the operations of gradient rules that are used once, by another operation of the same rule."""
    into, out = graph.inputs_of(), graph.outputs_of()
    operands: dict[int, int] = {}  # the number of operands in the formula of each one found
    for v in graph.vertices:
        if v.order and v.operand is not None and _is_free(graph, v) and len(out[v.id]) == 1:
            user = graph.vertices[out[v.id][0].target]
            same_rule = (user.differentiates, user.operand, user.order) == (v.differentiates, v.operand, v.order)
            count = sum(operands.get(edge.source, 1) for edge in into[v.id])
            if same_rule and count <= MOST_OPERANDS and not {v.operation, user.operation} & {*_BOOKKEEPING, "sum"}:
                operands[v.id] = count
    return {*operands}


def _transposes(graph: Graph) -> set[int]:
    """Return the matrix transpositions that are used only by matrix products, or by other such transpositions."""
    out = graph.outputs_of()
    found: set[int] = set()
    for v in reversed(graph.vertices):
        if _transposes_a_matrix(v) and _is_free(graph, v):
            users = {edge.target for edge in out[v.id]}
            if all(i in found or graph.vertices[i].operation in _OF_MATRICES for i in users):
                found.add(v.id)
    return found


def _with_formulas_of(graph: Graph, inner: set[int]) -> Graph:
    """Return the graph with the expressions of inner vertices substituted into those of their users."""
    into = graph.inputs_of()
    whole: dict[int, Expression] = {}  # expressions of the inner vertices, with vertices as operands
    vertices, edges = [], []

    def of(source: Mapping[int, int]) -> Callable[[int], Expression | Operand]:
        return lambda at: whole.get(source[at], Operand(source[at]))

    for v in graph.vertices:
        kept, source = into[v.id], {edge.operand: edge.source for edge in into[v.id]}
        shown = v
        if v.expression is not None and (v.id in inner or inner & {*source.values()}):
            found = v.expression.with_operands(of(source))
            if v.id in inner:
                whole[v.id] = found
            # A formula that uses a value twice has one edge from it.
            place = {i: at for at, i in enumerate(dict.fromkeys(found.leaves()))}
            kept = [Edge(i, v.id, at, shape=graph.vertices[i].shape) for i, at in place.items()]
            at_edges = {i: Operand(at) for i, at in place.items()}
            shown = replace(v, expression=found.tidied().with_operands(at_edges.__getitem__))
        if v.id not in inner:
            vertices.append(shown)
            edges += kept
    return renumbered(graph, vertices, edges)


def _without_bookkeeping(graph: Graph) -> Graph:
    """Fold bookkeeping into its edges, unless two operands would then look the same."""
    into = graph.inputs_of()
    folded = {v.id for v in graph.vertices if v.operation in _BOOKKEEPING and _is_free(graph, v)}

    def chain(i: int) -> list[int]:
        """Return the folded vertices from an operand to its source, and the source."""
        return [i, *chain(into[i][0].source)] if i in folded else [i]

    for v in graph.vertices:
        if v.expression is not None and not says_enough_by_its_sign(v.expression):
            chains = {tuple(chain(edge.source)) for edge in into[v.id]}
            ends = Counter(passed[-1] for passed in chains)
            folded -= {i for passed in chains if ends[passed[-1]] > 1 for i in passed[:-1]}
    edges = []
    inside: dict[int, dict[int, Expression | Operand]] = {}  # substitutions for each vertex, by operand
    for edge in graph.edges:
        if edge.target not in folded:
            *passed, source = chain(edge.source)
            target = graph.vertices[edge.target]
            # An operation that broadcasts implies the shape of its operands.
            repeats = passed[:1] if target.operation in BROADCASTING else []
            mark = {i: _mark(graph.vertices[i], i in repeats) for i in passed}
            said = []
            if target.expression is not None:
                lent = graph.vertices[source].order < target.order
                # Layouts drop the labels of edges without constraint, so the formula must show them.
                said = [i for i in passed if mark[i] != _UNSAID] if lent else _transposed_last(graph, passed, target)
            if said:
                inside.setdefault(target.id, {})[edge.operand] = _around(graph, said, edge.operand)
            marks = [*edge.marks, *(mark[i] for i in reversed(passed) if i not in said)]
            edges.append(replace(edge, source=source, marks=tuple(marks)))
    kept = [v for v in graph.vertices if v.id not in folded]
    return renumbered(graph, [_with_operands(v, inside.get(v.id, {})) for v in kept], edges)


def _transposed_last(graph: Graph, passed: list[int], target: Vertex) -> list[int]:
    """Return the transpositions of a matrix directly before its product, or before a cast."""
    if target.operation not in _OF_MATRICES:
        return []
    last = takewhile(lambda v: v.operation == "astype" or _transposes_a_matrix(v), (graph.vertices[i] for i in passed))
    return [v.id for v in last if _transposes_a_matrix(v)]


def _transposes_a_matrix(v: Vertex) -> bool:
    return v.operation == "transpose" and v.expression is not None and not v.expression.words["axes"]


def _around(graph: Graph, passed: list[int], operand: int) -> Expression | Operand:
    """Return the expression of an operand after the folded vertices, the last one first."""
    if not passed:
        return Operand(operand)
    expression, inner = graph.vertices[passed[0]].expression, _around(graph, passed[1:], operand)
    assert expression is not None
    return expression.with_operands(lambda _: inner)


def _with_operands(v: Vertex, operands: Mapping[int, Expression | Operand]) -> Vertex:
    if v.expression is None or not operands:
        return v
    return replace(v, expression=v.expression.with_operands(lambda at: operands.get(at, Operand(at))).tidied())


def _mark(v: Vertex, repeats: bool) -> str:
    """Return the label of a folded vertex. A broadcast that the operation implies needs no shape."""
    assert v.expression is not None
    kind = v.expression.kind
    words = {"reshape": in_words(v.shape), "broadcast_to": "" if repeats else in_words(v.shape), "astype": v.dtype}
    return f"{_BOOKKEEPING[kind]} {words.get(kind, v.expression.words.get('axes', ''))}".rstrip()


def renumbered(graph: Graph, vertices: list[Vertex], edges: list[Edge]) -> Graph:
    """Return a graph of some vertices and the edges between them, with new numbers."""
    new = {v.id: i for i, v in enumerate(vertices)}

    def moved(v: Vertex) -> Vertex:
        return replace(v.pointing(new.get), id=new[v.id])

    return Graph(
        tuple(map(moved, vertices)),
        tuple(replace(e, source=new[e.source], target=new[e.target]) for e in edges),
        graph.scopes,
        tuple(new[i] for i in graph.outputs),
    )
