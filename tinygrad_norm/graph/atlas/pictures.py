"""A picture for each scope: its operations, its inner scopes as boxes, and its neighbours outside as stubs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import NamedTuple

from ..collapse import Box, Content, boxes_of, in_order, scope_as_vertex, with_inputs_outside
from ..model import Edge, Graph, Vertex
from ..naming import written
from ..steps import is_step, step_as_vertex
from .grouping import grouped

# Further neighbours on one side are merged into one stub.
MOST_STUBS = 16


class Part(NamedTuple):
    """A scope as a box, in the forward pass or in the gradient of some order."""

    order: int
    scope: int


Thing = int | Part
"""A vertex by its number, or a scope."""


class Stub(NamedTuple):
    """A neighbour outside, which a value comes from or goes to, and the box that contains it. None for several."""

    thing: Thing | None
    comes: bool
    order: int
    near: Thing | None = None


@dataclass
class Picture:
    """The picture of a scope.

    Attributes
    ----------
    scope, outer : int or None
        The scope and the one around it. None for the whole network.
    places : list of int, Part and Stub
        The things that the vertices of the graph stand for.
    graph : Graph
        The graph that is drawn.
    """

    scope: int | None
    outer: int | None
    places: list[Thing | Stub] = field(default_factory=list)
    graph: Graph = field(default_factory=lambda: Graph((), (), (), ()))


def pictures_of(graph: Graph) -> tuple[Graph, list[Picture]]:
    """Return the graph with added scopes, and a picture for each scope, starting with the whole network.

    Every operation is in one picture, and is a stub in the pictures that use its results. An edge is drawn between the
    boxes of its ends in the innermost scope around both, and between a box and a stub in scopes around one end.
    """
    graph = grouped(graph)
    constants = {v.id for v in graph.vertices if v.operation is None and any(is_step(graph.scopes[s]) for s in v.scope)}
    graph = with_inputs_outside(graph, boxes_of(graph, lambda path: True), constants)
    making = _Making(graph)
    for v in graph.vertices:
        making.add(v)
    for e in graph.edges:
        making.join(e)
    return graph, [making.picture(scope) for scope in making.outer]


class _Making:
    """The boxes and the edges of each picture, by the number of its scope."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outer: dict[int | None, int | None] = {None: None}
        self.depth: dict[int | None, int] = {None: 0}
        self.contents: dict[Part, Content] = {}
        self.wholes: dict[Part, Vertex] = {}
        self.boxes: dict[int | None, dict[Thing | Stub, None]] = {None: {}}
        self.edges: dict[int | None, dict[tuple[Thing | Stub, Thing | Stub, int | bool], Edge]] = {None: {}}
        self.merged: dict[tuple[int | None, Stub], set[Stub]] = {}

    def add(self, v: Vertex) -> None:
        outer = None
        for depth, scope in enumerate(v.scope, 1):
            self.outer.setdefault(scope, outer)
            self.depth.setdefault(scope, depth)
            part = Part(v.order, scope)
            self.contents.setdefault(part, Content()).members.append(v)
            self.boxes[outer].setdefault(part)
            self.boxes.setdefault(scope, {})
            self.edges.setdefault(scope, {})
            outer = scope
        self.boxes[outer].setdefault(v.id)

    def join(self, e: Edge) -> None:
        """Draw an edge in every picture that shows one of its ends."""
        a, b = self.graph.vertices[e.source], self.graph.vertices[e.target]
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.scope, b.scope, strict=False)))
        # The gradient of a scope is beside it, and uses its values.
        for depth in range(common + 1) if a.order != b.order else (common,):
            self._draw((None, *a.scope)[depth], _thing(a, depth), _thing(b, depth), e)
        for depth, scope in enumerate(a.scope[common:], common + 1):
            stub = self._stub(scope, Stub(_thing(b, common), False, b.order))
            self._draw(scope, _thing(a, depth), stub, e)
            if a.order == b.order:
                self.contents[Part(a.order, scope)].results.setdefault(a.id)
        for depth, scope in enumerate(b.scope[common:], common + 1):
            stub = self._stub(scope, Stub(a.id, True, a.order, _thing(a, common)))
            if b.expression is None or depth < len(b.scope) or e.operand in b.expression.leaves():
                self._draw(scope, stub, _thing(b, depth), e)
            if a.order == b.order:
                sources = self.contents[Part(b.order, scope)].sources
                sources.setdefault(a.id, len(sources))

    def _stub(self, scope: int, stub: Stub) -> Stub:
        boxes = self.boxes[scope]
        if stub not in boxes and sum(isinstance(x, Stub) and x.comes == stub.comes for x in boxes) >= MOST_STUBS:
            rest = Stub(None, stub.comes, stub.order)
            self.merged.setdefault((scope, rest), set()).add(stub)
            stub = rest
        boxes.setdefault(stub)
        return stub

    def _draw(self, scope: int | None, a: Thing | Stub, b: Thing | Stub, e: Edge) -> None:
        lent = self.graph.vertices[e.source].order < self.graph.vertices[e.target].order
        self.edges[scope].setdefault((a, b, e.operand if isinstance(b, int) else lent), e)

    def picture(self, scope: int | None) -> Picture:
        edges = self.edges[scope]
        first = {place: self._first(place) for place in self.boxes[scope]}
        by_number = sorted(first, key=first.__getitem__)
        number = {place: i for i, place in enumerate(by_number)}
        order = in_order(number.values(), {(number[a], number[b]) for a, b, _ in edges})
        # Boxes on cycles, such as scopes that were entered alternately, come last.
        order += [i for i in number.values() if i not in set(order)]
        places = [by_number[i] for i in order]
        new = {place: i for i, place in enumerate(places)}
        depth = self.depth[scope]
        graph = Graph(
            tuple(self._vertex(place, scope, depth, new) for place in places),
            tuple(replace(e, source=new[a], target=new[b]) for (a, b, _), e in edges.items()),
            self.graph.scopes,
            (),
        )
        return Picture(scope, self.outer[scope], places, written(graph))

    def _first(self, place: Thing | Stub) -> float:
        """Return the position of a box in the order of the whole graph. Stubs that values go to are last."""
        if isinstance(place, Stub):
            return self._first(place.thing) if place.comes and place.thing is not None else math.inf
        return place if isinstance(place, int) else self.contents[place].members[0].id

    def _vertex(self, place: Thing | Stub, scope: int | None, depth: int, new: Mapping[Thing | Stub, int]) -> Vertex:
        if isinstance(place, Stub):
            if place.thing is None:
                count = len(self.merged[scope, place])
                return Vertex(new[place], None, (), "", "stub", f"{count} more", order=place.order)
            return replace(self._whole(place.thing), id=new[place], expression=None, differentiates=None)
        v = self._whole(place)
        beside = None if v.differentiates is None else _thing(self.graph.vertices[v.differentiates], depth)
        return replace(v, id=new[place], differentiates=None if beside is None else new.get(beside))

    def _whole(self, thing: Thing) -> Vertex:
        if isinstance(thing, int):
            return self.graph.vertices[thing]
        if thing not in self.wholes:
            as_vertex = step_as_vertex if is_step(self.graph.scopes[thing.scope]) else scope_as_vertex
            box = Box(thing.order, 0, thing.scope)
            self.wholes[thing] = as_vertex(self.graph, self.contents[thing], box, 1)
        return self.wholes[thing]


def _thing(v: Vertex, depth: int) -> Thing:
    """Return the thing that is, or contains, a vertex in the picture of its scope at a depth."""
    return Part(v.order, v.scope[depth]) if len(v.scope) > depth else v.id
