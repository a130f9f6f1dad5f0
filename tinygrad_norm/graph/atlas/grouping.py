"""Add scopes to a graph: around repeated blocks, and around parts of scopes that are too large for one picture."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from ..model import Graph, Vertex
from ..scopes import Name, place

# The smallest number of repetitions that are grouped, and the most boxes in a repeated block.
LEAST_TIMES = 4
LONGEST_BLOCK = 16
# A picture with more than MOST_BOXES is cut into parts of about BOXES_PER_PART.
MOST_BOXES = 150
BOXES_PER_PART = 60

# An item in a picture: the number of a scope, or the complement of the number of a vertex.
Item = int
Scopes = tuple[int, ...]


class Cut(Name):
    """The name of a part of a scope that was too large."""


def grouped(graph: Graph) -> Graph:
    """Return the graph with further scopes: "Block × 12" around repeated blocks, "part 1 of 9" in large scopes."""
    graph = _with_repeats(graph)
    while cut := _parts(graph):
        graph = _regrouped(graph, *cut)
    return graph


def item_of(v: Vertex, depth: int) -> Item:
    """Return the item that is, or contains, a vertex in the picture of its scope at a depth."""
    return v.scope[depth] if len(v.scope) > depth else ~v.id


def _regrouped(graph: Graph, inside: Mapping[Item, Scopes], names: Sequence[str]) -> Graph:
    """Return the graph with new scopes around items."""

    def path(v: Vertex) -> Scopes:
        return tuple(s for scope in v.scope for s in (*inside.get(scope, ()), scope)) + inside.get(~v.id, ())

    vertices = tuple(replace(v, scope=path(v)) for v in graph.vertices)
    return replace(graph, vertices=vertices, scopes=(*graph.scopes, *names))


# Repeated blocks.


def _with_repeats(graph: Graph) -> Graph:
    """Return the graph with a scope around every sequence of equal blocks that contain scopes."""
    kinds, rows = _kinds(graph), _rows(graph)
    inside: dict[Item, Scopes] = {}
    names: list[str] = []

    def new(name: str) -> int:
        names.append(name)
        return len(graph.scopes) + len(names) - 1

    for row in rows.values():
        for start, period, times in _repeats([kinds[item] for item in row]):
            blocks = [row[i : i + period] for i in range(start, start + period * times, period)]
            if all(item < 0 for item in blocks[0]):
                continue  # repeated single operations are not grouped
            if period == 1:
                first, last = (graph.scopes[block[0]] for block in (blocks[0], blocks[-1]))
                places = f"{place(first)} … {place(last)}" if place(first) else ""
                group = new(Name(f"{first} × {times}", places))
                inside |= {block[0]: (group,) for block in blocks}
            else:
                group = new(f"block × {times}")
                for number, block in enumerate(blocks, 1):
                    inside |= dict.fromkeys(block, (group, new(f"block {number}")))
    anchors = _anchors(graph)
    followers = {~i: inside[item] for i, item in anchors.items() if item in inside and ~i != item}
    return _regrouped(graph, inside | followers, names)


def _kinds(graph: Graph) -> dict[Item, int]:
    """Return a number for each scope and each operation, equal for equal ones."""
    content: dict[Item, list[Hashable]] = {}
    for v in graph.vertices:
        if not v.order and v.operation is not None:
            for depth, scope in enumerate(v.scope, 1):
                content.setdefault(scope, [str(graph.scopes[scope])]).append((v.alike, v.shape, len(v.scope) - depth))
            content[~v.id] = [(v.alike, v.operation, v.shape, v.dtype)]
    codes: dict[Hashable, int] = {}
    return {item: codes.setdefault(tuple(of), len(codes)) for item, of in content.items()}


def _rows(graph: Graph) -> dict[int | None, list[Item]]:
    """Return the scopes and operations inside each scope, in the order of the forward pass."""
    rows: dict[int | None, dict[Item, None]] = {}
    for v in graph.vertices:
        if not v.order and v.operation is not None:
            for outer, item in zip((None, *v.scope), (*v.scope, ~v.id), strict=True):
                rows.setdefault(outer, {}).setdefault(item)
    return {outer: [*row] for outer, row in rows.items()}


def _repeats(kinds: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield sequences of equal blocks: the start, the length of a block and the number of blocks, longest first.

    A sequence begins as late as possible. Then a first layer of another width stays outside, and a block begins where
    the following layers begin.
    """

    def times(start: int, period: int) -> int:
        block, end = kinds[start : start + period], start + period
        while kinds[end : end + period] == block:
            end += period
        return (end - start) // period

    at = 0
    while at < len(kinds):
        found = [(times(at, period), period) for period in range(1, LONGEST_BLOCK + 1)]
        best = max(found, key=lambda pair: (pair[0] >= LEAST_TIMES) * pair[0] * pair[1])
        if best[0] < LEAST_TIMES:
            at += 1
            continue
        number, period = best
        at = max(start for start in range(at, at + period) if times(start, period) == number)
        yield at, period, number
        at += period * number


def _anchors(graph: Graph) -> dict[int, Item]:
    """Return, for each vertex, the item of the forward pass in the same scope that it belongs to.

    An operation belongs to itself, a leaf to its first use, and a vertex of a gradient to the differentiated one.
    """
    users = graph.outputs_of()
    anchors: dict[int, Item] = {}
    for v in graph.vertices:
        depth = len(v.scope)
        if v.operation is None:
            near = [u for e in users[v.id] if (u := graph.vertices[e.target]).scope[:depth] == v.scope]
        else:
            near = [] if v.differentiates is None else [graph.vertices[v.differentiates]]
        of = next((u for u in near if u.scope[:depth] == v.scope), v)
        item = item_of(of, depth)
        anchors[v.id] = anchors.get(of.id, item) if item == ~of.id else item
    return anchors


# Large scopes.


def _parts(graph: Graph) -> tuple[dict[Item, Scopes], list[str]] | None:
    """Return the part for each item of a scope that is too large, and the names of the parts."""
    anchors = _anchors(graph)
    boxes: dict[int | None, dict[Item, set[Hashable]]] = {}
    for v in graph.vertices:
        row = boxes.setdefault(v.scope[-1] if v.scope else None, {})
        row.setdefault(anchors[v.id], set()).add(v.id)
        for outer, scope in zip((None, *v.scope), v.scope, strict=False):
            boxes.setdefault(outer, {}).setdefault(scope, set()).add((v.order, scope))
    part_of: dict[Item, Scopes] = {}
    names: list[str] = []
    for row in boxes.values():
        total = sum(map(len, row.values()))
        if total <= MOST_BOXES:
            continue
        number, met = ceil(total / BOXES_PER_PART), 0
        first = len(graph.scopes) + len(names)
        names += [Cut(f"part {i} of {number}") for i in range(1, number + 1)]
        for item, inside in row.items():
            part = (first + min(met * number // total, number - 1),)
            part_of |= {item: part} if item >= 0 else {}
            part_of |= {~i: part for i in inside if isinstance(i, int)}
            met += len(inside)
    return (part_of, names) if names else None
