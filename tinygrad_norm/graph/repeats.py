"""Repeated sequences of boxes, such as the layers of a network, drawn once in a frame."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, takewhile
from typing import NamedTuple

import numpy as np

from .fold import renumbered
from .model import Edge, Graph, Vertex, sums_for_a_leaf


class Link(NamedTuple):
    """The connection of a block to an equal one before it: the results that it uses, and matching pairs of leaves."""

    taken: list[int]
    leaves: dict[int, int]


class Run(NamedTuple):
    """A sequence of equal blocks, each a list of vertices, and the links from each to the next."""

    start: int
    blocks: list[list[int]]
    links: list[Link]

    @property
    def saves(self) -> int:
        return len(self.blocks[0]) * (len(self.blocks) - 1)

    @property
    def vertices(self) -> set[int]:
        return {i for block in self.blocks for i in block}


def with_runs_once(graph: Graph) -> Graph:
    """Return the graph with every run of equal blocks drawn as its first block, in a frame with the number of blocks.

    A block holds several vertices. Each block but the first uses results of the one before it, which are used nowhere
    else. Parameters belong to one block or are shared by all.
    """
    for order in sorted({v.order for v in graph.vertices}):
        for run in _Blocks(graph, order).runs():
            graph = _framed(graph, run)
        graph = renumbered(graph, [v for v in graph.vertices if v.times], list(graph.edges))
    return graph


class _Blocks:
    """The operations of one order, in sequence, and comparisons of stretches of them."""

    def __init__(self, graph: Graph, order: int) -> None:
        self.graph, self.order = graph, order
        self.into, self.out = graph.inputs_of(), graph.outputs_of()
        self.sequence = [v.id for v in graph.vertices if v.order == order and v.operation is not None]
        codes: dict[Hashable, int] = {}
        self.kinds = np.array([codes.setdefault(self._kind(graph.vertices[i]), len(codes)) for i in self.sequence])
        paths = [(), *(graph.vertices[i].scope for i in self.sequence), ()]
        # The number of scopes that stay open between each operation and the one before it.
        self.open = np.array([len(_shared(a, b)) for a, b in pairwise(paths)])

    def _kind(self, v: Vertex) -> Hashable:
        around = tuple(self.graph.scopes[scope] for scope in v.scope)
        return v.alike, v.operation, v.symbol, v.name, v.shape, v.dtype, v.times, around, len(self.into[v.id])

    def runs(self) -> list[Run]:
        """Return runs that do not overlap. Runs that save the most vertices come first, then those of shorter blocks.

        If a run can start at several places, it starts at the last one of the forward pass. Then a first layer of
        another width stays outside, and a block begins where the following layers begin.
        """
        found = [run for run in self._candidates() if self._is_of_boxes(run)]
        found.sort(key=lambda run: (-run.saves, len(run.blocks[0]), run.start if self.order else -run.start))
        runs: list[Run] = []
        taken: set[int] = set()
        for run in found:
            if taken.isdisjoint(run.vertices):
                runs.append(run)
                taken |= run.vertices
        return runs

    def _candidates(self) -> Iterator[Run]:
        covered: list[tuple[int, int, int]] = []
        for period in range(1, len(self.sequence) // 2 + 1):
            equal = np.append(0, np.cumsum(self.kinds[period:] == self.kinds[:-period]))
            possible = equal[period:] - equal[:-period] == period
            links: dict[int, Link | None] = {}
            for p, first, last in covered:
                if period % p == 0:  # several blocks of another run
                    possible[first : max(last - 2 * period + 1, 0)] = False
            for start in map(int, np.flatnonzero(possible)):
                if possible[start] and (run := self._run(start, period, links)).links:
                    end = start + period * len(run.blocks)
                    covered.append((period, start, end))
                    possible[start + period : max(end - 2 * period + 1, 0)] = False
                    yield run

    def _is_between_frames(self, start: int, period: int) -> bool:
        """Return whether two blocks begin and end where no scope is open except those around both."""
        around = self.open[start + 1 : start + 2 * period].min()
        ends = self.open[[start, start + period, start + 2 * period]]
        return bool(ends.max() <= around)

    def _is_of_boxes(self, run: Run) -> bool:
        """Return whether the blocks hold boxes or frames. Repeated single operations are not merged."""
        depth, block = len(_around(self.graph, run)), [self.graph.vertices[i] for i in run.blocks[0]]
        return any(v.holds or v.operation == "step" or len(v.scope) > depth for v in block)

    def _run(self, start: int, period: int, links: dict[int, Link | None]) -> Run:
        """Return the longest run of equal blocks from a given start."""
        run = Run(start, [self._block(start, period)], [])
        while True:
            if start not in links:
                links[start] = self._link(start, period)
            link = links[start]
            if link is None or (run.links and link.taken != run.links[0].taken):
                return run
            start += period
            run.blocks.append(self._block(start, period))
            run.links.append(link)

    def _block(self, start: int, period: int) -> list[int]:
        return self.sequence[start : start + period]

    def _link(self, start: int, period: int) -> Link | None:
        """Return the link from the block at a start to the next one, or None."""
        kinds = self.kinds[start : start + period], self.kinds[start + period : start + 2 * period]
        if not np.array_equal(*kinds) or not self._is_between_frames(start, period):
            return None
        blocks = self._block(start, period), self._block(start + period, period)
        one, other = ({i: place for place, i in enumerate(block)} for block in blocks)
        taken: list[int] = []
        before: dict[int, int] = {}
        leaves: dict[int, int] = {}
        for a, b in zip(*blocks, strict=True):
            for e, f in zip(self.into[a], self.into[b], strict=True):
                if self.graph.vertices[e.source].order < self.order:
                    continue
                if f.source in other:
                    fits = one.get(e.source) == other[f.source]
                elif f.source in one:
                    # A result of the previous block must replace the same vertex everywhere.
                    taken.append(one[f.source])
                    fits = e.source not in one and before.setdefault(one[f.source], e.source) == e.source
                elif e.source == f.source:
                    fits = True
                else:
                    own = self._is_own_leaf(e.source, one) and self._is_own_leaf(f.source, other)
                    fits = own and leaves.setdefault(f.source, e.source) == e.source
                if not fits:
                    return None
            beyond = self._users(a) - set(one) - set(other)
            if beyond - self._sums(b) or (not self.order and a in self.graph.outputs):
                return None
        return Link(taken, leaves) if taken else None

    def _users(self, i: int) -> set[int]:
        return {e.target for e in self.out[i] if self.graph.vertices[e.target].order == self.order}

    def _sums(self, i: int) -> set[int]:
        """Return the sums of contributions to shared leaves that a vertex adds to."""
        return {j for j in self._users(i) if sums_for_a_leaf(self.graph.vertices[j])}

    def _is_own_leaf(self, i: int, block: dict[int, int]) -> bool:
        return self.graph.vertices[i].operation is None and self._users(i) <= set(block)


def _shared(*paths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common beginning of several paths."""
    levels = zip(*paths, strict=False)
    return tuple(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _around(graph: Graph, run: Run) -> tuple[int, ...]:
    """Return the scopes around a whole run."""
    return _shared(*(graph.vertices[i].scope for i in run.vertices))


def _framed(graph: Graph, run: Run) -> Graph:
    """Return the graph with the first block of a run in a frame, and without edges to the other blocks."""
    stands_for = {i: i for i in (*run.blocks[0], *run.links[0].leaves.values())}
    inside = set(stands_for)
    for (one, other), link in zip(pairwise(run.blocks), run.links, strict=True):
        stands_for |= {b: stands_for[a] for a, b in zip(one, other, strict=True)}
        stands_for |= {b: stands_for[a] for b, a in link.leaves.items()}
    around, frame = _around(graph, run), len(graph.scopes)
    block = [graph.vertices[i] for i in run.blocks[0]]
    # The block's scopes, without their paths: a box that stands for several has no single path.
    within = dict.fromkeys(s for v in block for s in v.scope[len(around) :])
    outermost = {v.scope[len(around) : len(around) + 1] for v in block}
    whole = len(outermost) == 1 and () not in outermost
    names = [str(graph.scopes[s]) for s in within]
    new = dict(zip(within, range(frame if whole else frame + 1, frame + 1 + len(names)), strict=False))
    title = f"{names.pop(0) if whole else 'block'} × {len(run.blocks)}"

    def placed(v: Vertex) -> Vertex:
        v = v.pointing(lambda i: stands_for.get(i, i))
        if v.id in inside:
            scope = tuple(new[s] for s in v.scope[len(around) :])
            return replace(v, scope=(*around, *(scope if whole and scope else (frame, *scope))), place="")
        if v.id in stands_for:
            return replace(v, times=0)
        # The inputs of the first block are placed before the frame.
        given = v.operation is None and v.order == block[0].order and not within.keys().isdisjoint(v.scope)
        return replace(v, scope=around) if given else v

    return replace(
        graph,
        vertices=tuple(map(placed, graph.vertices)),
        edges=tuple(_edges(graph, run, stands_for, stands_for.keys() - inside)),
        scopes=(*graph.scopes, title, *names),
        outputs=tuple(stands_for.get(i, i) for i in graph.outputs),
    )


def _edges(graph: Graph, run: Run, stands_for: Mapping[int, int], gone: Collection[int]) -> list[Edge]:
    """Return the edges that remain when the first block stands for all."""
    first, last, blocks = set(run.blocks[0]), set(run.blocks[-1]), run.vertices
    edges: dict[tuple[int, int, int], Edge] = {}
    for e in graph.edges:
        lent = graph.vertices[e.source].order < graph.vertices[e.target].order
        # Keep edges into the first block and out of the last one. Edges to a common target are merged.
        leads_on = e.target in first or (e.source in last and e.target not in blocks)
        if e.target in gone or (e.source in blocks and not lent and not leads_on):
            continue
        moved = replace(e, source=stands_for[e.source]) if e.source in stands_for else e
        edges.setdefault((moved.source, e.target, -1 if lent and e.source in stands_for else e.operand), moved)
    return sorted(edges.values(), key=lambda e: (e.target, e.operand))
