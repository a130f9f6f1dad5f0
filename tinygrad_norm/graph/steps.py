"""Draw named steps, such as softmax, as one box each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import count

from .collapse import Box, Content, contents_of, contracted, without_cycles
from .fold import renumbered
from .model import Edge, Graph, Vertex
from .scopes import Name, place
from .text import in_words

Opened = Callable[[str], bool]


def opening(open: bool | str | Collection[str], graph: Graph) -> Opened:
    """Return a function that tells, from a scope's name, whether the named step is shown as its operations.

    Parameters
    ----------
    open : bool, str or collection of str
        All or none, or names of steps, such as "softmax", or paths, such as "block1.act".
    graph : Graph
        The graph whose steps can be named.

    Raises
    ------
    TypeError, ValueError
        If ``open`` is of another type, or has a name that no step has.
    """
    if isinstance(open, bool):
        return lambda name: bool(open)
    if not isinstance(open, Collection):
        raise TypeError(f"open must be a bool or names of steps, not {type(open).__name__}")
    steps = [name for name in graph.scopes if is_step(name)]
    asked = {open} if isinstance(open, str) else set(open)
    wanted = set(map(_spelled, asked))
    if unknown := [name for name in asked if _spelled(name) not in {_spelled(t) for s in steps for t in (s, place(s))}]:
        there = ", ".join(map(repr, sorted(set(steps)))) or "none"
        raise ValueError(f"open: no step is named {', '.join(map(repr, sorted(unknown)))}; the names are: {there}")
    return lambda name: _spelled(name) in wanted or (place(name) != "" and _spelled(place(name)) in wanted)


def _spelled(name: str) -> str:
    """Normalize a name, so that "log_softmax" equals "log-softmax" and "relu" equals "ReLU"."""
    return name.casefold().replace("_", "-").replace(" ", "-")


def is_step(name: str) -> bool:
    return isinstance(name, Name) and name.said is not None


def stepped(graph: Graph, opened: Opened) -> Graph:
    """Return the graph with every closed step as one box, and its gradient as another.

    The inputs of the step stay outside, including arrays that it uses as indices. The sum of the contributions to its
    result, which is not part of its own gradient, also stays outside, and so does an operation that failed.
    """
    closed = _closed_steps(graph, opened)
    graph = apart(graph, opened)
    box_of = {}
    for v in graph.vertices:
        if (step := _closed(v, closed)) is not None:
            differentiated = 0 if v.differentiates is None else graph.vertices[v.differentiates].order
            box_of[v.id] = Box(v.order, differentiated, step)
    if not box_of:
        return graph
    items, _ = without_cycles(graph, box_of)
    return contracted(graph, items, contents_of(graph, items, box_of), box_of, step_as_vertex)


def apart(graph: Graph, opened: Opened) -> Graph:
    """Return the graph with the scope of every closed step reduced to the vertices that belong in its box."""
    closed = _closed_steps(graph, opened)
    if not closed:
        return graph
    graph = _with_inputs(graph, closed)
    results = {e.source for e in graph.edges if _leaves(graph, e, closed)} | set(graph.outputs)

    def is_outside(v: Vertex) -> bool:
        return v.refused is not None or (_is_sum(v) and v.differentiates in results)

    vertices = [
        _outside(v, step) if (step := _closed(v, closed)) is not None and is_outside(v) else v for v in graph.vertices
    ]
    return replace(graph, vertices=tuple(vertices))


def _closed_steps(graph: Graph, opened: Opened) -> set[int]:
    return {i for i, name in enumerate(graph.scopes) if is_step(name) and not opened(name)}


def _closed(v: Vertex, closed: set[int]) -> int | None:
    """Return the outermost closed step around a vertex."""
    return next((scope for scope in v.scope if scope in closed), None)


def _leaves(graph: Graph, e: Edge, closed: set[int]) -> bool:
    source, target = graph.vertices[e.source], graph.vertices[e.target]
    return source.order == target.order and _closed(source, closed) != _closed(target, closed)


def _is_sum(v: Vertex) -> bool:
    return v.order > 0 and v.operation == "add" and v.operand is None


def _outside(v: Vertex, step: int) -> Vertex:
    return replace(v, scope=v.scope[: v.scope.index(step)])


def _with_inputs(graph: Graph, closed: set[int]) -> Graph:
    """Move the inputs of closed steps outside, and connect each to its step, including indices.

    A leaf that stays inside is a constant that the step created.
    """
    vertices = [_outside(v, step) if (step := _given_to(v, graph, closed)) is not None else v for v in graph.vertices]
    first: dict[int, Vertex] = {}
    for v in graph.vertices:
        if v.operation is not None and not v.order and (step := _closed(v, closed)) is not None:
            first.setdefault(step, v)
    used = {(e.source, _closed(graph.vertices[e.target], closed)) for e in graph.edges}
    edges = list(graph.edges)
    place = {v.id: float(v.id) for v in vertices}
    for step, v in first.items():
        operands = count(1 + max((e.operand for e in edges if e.target == v.id), default=-1))
        for x in graph.given.get(step, ()):
            source = len(vertices) if isinstance(x, Vertex) else x
            if isinstance(x, Vertex):
                # A new leaf is placed just before the step.
                vertices.append(replace(x, id=len(vertices), scope=_outside(v, step).scope))
                place[len(place)] = v.id - 0.5
            if source is not None and (source, step) not in used:
                used.add((source, step))
                edges.append(Edge(source, v.id, next(operands), shape=vertices[source].shape))
    edges.sort(key=lambda e: (e.target, e.operand))
    return renumbered(graph, sorted(vertices, key=lambda v: place[v.id]), edges)


def _given_to(v: Vertex, graph: Graph, closed: set[int]) -> int | None:
    """Return the closed step around a vertex if the vertex is one of its inputs, or else None."""
    step = _closed(v, closed)
    if step is None or v.operation is not None:
        return None
    given = v.requires_grad or v.parameter or v.name or v.id in graph.given.get(step, ())
    return step if given else None


def step_as_vertex(graph: Graph, content: Content, box: Box, times: int) -> Vertex:
    """Return the vertex for a named step, with its name, its parameters, and the names of its results."""
    asked = set(graph.outputs)
    results = [v for v in content.members if v.id in content.results or v.id in asked] or content.members[-1:]
    last, name = results[-1], graph.scopes[box.scope]
    several = len(results) > 1
    return Vertex(
        id=last.id,
        name=None if several else last.name,
        shape=last.shape,
        dtype=last.dtype,
        operation="step",
        symbol=str(name),
        place=place(name),
        detail=name.said or "" if isinstance(name, Name) and not box.order else "",
        scope=last.scope[: last.scope.index(box.scope)],
        order=box.order,
        differentiates=next((v.differentiates for v in content.members if v.differentiates is not None), None),
        slope_of=None if several else last.slope_of,
        requires_grad=last.requires_grad,
        values=None if several else last.values,
        gradient_norm=last.gradient_norm,
        results=tuple(" ".join(filter(None, (v.name, in_words(v.shape)))) for v in results) if several else (),
    )
