"""Layouts in rows: a long graph is cut into bands, which are laid out below each other and connected by wires."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .render import layout
from .sheet import Cluster, Line, Move, Path, Placed, Point, Sheet, extent, placed_by

# In inches: between boxes side by side, and from rank to rank.
NODESEP = 0.1
RANKSEP = {"TB": 0.12, "LR": 0.2}
# In points: between wires, and the radius of their corners.
LANE = 9.0
CORNER = 5.0
# The cost of a cut through a line or a scope, compared to 3 for a band of twice the mean length.
CUT = 0.12


# Bands.


def in_bands(sheet: Sheet, along: Mapping[str, float], number: int) -> dict[str, int]:
    """Assign boxes, by their positions along the flow, to bands of similar length that cut few lines and scopes."""
    places = sorted({round(a) for a in along.values()})
    spans = {
        (round(along[line.tail]), round(along[line.head]), line.source)
        for line in sheet.lines
        if round(along[line.tail]) != round(along[line.head])
    }
    spans |= {
        (min(inside), max(inside), cluster.name)
        for cluster in _every(sheet.clusters)
        if len(inside := {round(along[name]) for name in cluster.nodes}) > 1
    }
    crossings = [len({s for a, b, s in spans if min(a, b) <= p < max(a, b)}) for p in places]
    ideal = (places[-1] - places[0]) / number or 1.0
    # best[i]: the cost of the best cut of the places before the i-th, and the starts of its bands.
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(number):
        following = []
        for i in range(len(places) + 1):
            ways = [
                (
                    cost + ((places[i - 1] - places[j]) / ideal) ** 2 + (CUT * crossings[j - 1] if j else 0),
                    [*starts, j],
                )
                for j, (cost, starts) in enumerate(best[:i])
            ]
            following.append(min(ways, default=(math.inf, [])))
        best = following
    starts = best[-1][1]
    band = {name: sum(round(a) >= places[j] for j in starts) - 1 for name, a in along.items()}
    return _with_leaves_beside_their_use(sheet, band)


def _every(clusters: Iterable[Cluster]) -> Iterator[Cluster]:
    for cluster in clusters:
        yield cluster
        yield from _every(cluster.inner)


def _with_leaves_beside_their_use(sheet: Sheet, band: dict[str, int]) -> dict[str, int]:
    users: dict[str, set[int]] = {}
    fed = {line.tail if line.back else line.head for line in sheet.lines}
    for line in sheet.lines:
        users.setdefault(line.source, set()).add(band[line.tail if line.back else line.head])
    tied = {name for tie in sheet.ties for name in tie}
    alone = {n: bands.pop() for n, bands in users.items() if n not in fed and n not in tied and len(bands) == 1}
    return band | alone


class Wire(NamedTuple):
    """A connection of two bands, from the end of ``first`` to the start of ``last``."""

    source: str
    lent: bool
    first: int
    last: int

    @property
    def exit(self) -> str:
        return f"out_{self.source}_{int(self.lent)}"

    @property
    def entry(self) -> str:
        return f"in_{self.source}_{int(self.lent)}"


def _wire(line: Line, band: Mapping[str, int]) -> Wire:
    first, last = sorted((band[line.tail], band[line.head]))
    return Wire(line.source, line.lent, first, last)


def _ends(line: Line, band: Mapping[str, int]) -> tuple[str, str]:
    """Return the end of a line that lies in the earlier band, and the other."""
    return (line.tail, line.head) if band[line.tail] <= band[line.head] else (line.head, line.tail)


def in_rows(sheet: Sheet, band: Mapping[str, int], rankdir: str) -> Placed:
    """Lay out each band with Graphviz, and place the bands below each other ("LR") or beside each other ("TB")."""
    wires = sorted({_wire(line, band) for line in sheet.lines if band[line.tail] != band[line.head]})
    rows: list[Placed] = []
    corners: list[Point] = []
    top = 0.0
    for b in range(1 + max(band.values(), default=0)):
        row = _band(sheet, band, b, rankdir)
        a0, c0, a1, c1 = extent(row, sheet, rankdir)
        rows.append(row.moved(_by(-a0, top - c0)))
        corners.append((a1 - a0, top + c1 - c0))
        top = corners[-1][1] + LANE * (2 + sum(wire.first == b for wire in wires))
    whole = Placed()
    for row in rows:
        whole.boxes |= {name: p for name, p in row.boxes.items() if name in sheet.boxes}
        whole.paths |= row.paths
        whole.clusters += row.clusters
    routes = _routes(wires, rows, corners)
    between_bands = [line for line in sheet.lines if band[line.tail] != band[line.head]]
    paths = whole.paths | {line.id: _joined(line, band, routes, rows) for line in between_bands}
    whole.paths = {line.id: paths[line.id] for line in sheet.lines}
    return whole.moved(_physical(rankdir))


def _by(along: float, across: float) -> Move:
    return lambda p: (p[0] + along, p[1] + across)


def _routes(wires: Sequence[Wire], rows: Sequence[Placed], corners: Sequence[Point]) -> dict[Wire, list[Point]]:
    """Return the route of each wire: out at the end of its band, back below it, down in front of the bands, and in.

    Of the wires that leave a band, the lowest turns first, so that no two of them cross.
    """
    routes = {}
    most = max((sum(wire.first == b for wire in wires) for b in range(len(rows))), default=0)
    for b, (end, bottom) in enumerate(corners):
        leaving = sorted((w for w in wires if w.first == b), key=lambda w: (rows[b].boxes[w.exit][1], w.last, w))
        for i, wire in enumerate(leaving):
            (a0, c0), (a1, c1) = rows[b].boxes[wire.exit], rows[wire.last].boxes[wire.entry]
            nested = LANE * (len(leaving) - i)
            left = -LANE * (i + 1 + (most if wire.last > b + 1 else 0))
            under = bottom + nested
            ways = [(a0, c0), (end + nested, c0), (end + nested, under), (left, under), (left, c1), (a1, c1)]
            routes[wire] = rounded(ways)
    return routes


def _joined(line: Line, band: Mapping[str, int], routes: Mapping[Wire, list[Point]], rows: Sequence[Placed]) -> Path:
    """Return the path of a line between bands: to the exit, along the wire, and from the entry."""
    wire = _wire(line, band)
    first, last = _ends(line, band)
    out, into = rows[wire.first].paths[f"{first}>{wire.exit}"], rows[wire.last].paths[f"{wire.entry}>{last}"]
    points = out.points
    for part in (routes[wire], into.points):
        points = [*points, *_straight(points[-1], part[0]), *part[1:]]
    path = Path(points, out.start, into.end)
    return path if line.tail == first else path.reversed()


def _straight(a: Point, b: Point) -> list[Point]:
    """Return the control points after a of a straight spline from a to b."""
    return [between(a, b, 1 / 3), between(a, b, 2 / 3), b]


def between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def rounded(corners: Sequence[Point]) -> list[Point]:
    """Return a spline along straight lines with rounded corners."""
    points = [corners[0]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        lengths = math.dist(before, corner), math.dist(corner, after)
        r = min(CORNER, lengths[0] / 2, lengths[1] / 2)
        start = between(corner, before, r / lengths[0]) if r else corner
        stop = between(corner, after, r / lengths[1]) if r else corner
        points += [*_straight(points[-1], start), corner, corner, stop]
    return [*points, *_straight(points[-1], corners[-1])]


# The layout of one band by Graphviz.


def _logical(rankdir: str) -> Move:
    """Return the map from points on the page to their positions along and across the flow."""
    return (lambda p: (p[0], -p[1])) if rankdir == "LR" else (lambda p: (-p[1], p[0]))


def _physical(rankdir: str) -> Move:
    return (lambda p: (p[0], -p[1])) if rankdir == "LR" else (lambda p: (p[1], -p[0]))


def _band(sheet: Sheet, band: Mapping[str, int], b: int, rankdir: str) -> Placed:
    row = placed_by(layout(_source(sheet, band, b, rankdir)), b, sheet.titles).moved(_logical(rankdir))
    halves = [[p[1] for name, p in row.boxes.items() if (name in sheet.gradient) is half] for half in (False, True)]
    if all(halves) and sum(halves[0]) / len(halves[0]) > sum(halves[1]) / len(halves[1]):
        # The gradient is below the forward pass, or to its right.
        row = row.moved(lambda p: (p[0], -p[1]))
    return row


def _source(sheet: Sheet, band: Mapping[str, int], b: int, rankdir: str) -> str:
    """Return the DOT text of one band: boxes of fixed sizes, and points where wires leave and enter."""
    members = {name for name, at in band.items() if at == b}
    tree = [
        f"digraph {{ rankdir={rankdir}; newrank=true; nslimit=5; nodesep={NODESEP}; ranksep={RANKSEP[rankdir]};",
        'node [shape=box, fixedsize=true, label=""]; edge [fontsize=13, fontname=Helvetica, arrowsize=0.7];',
    ]
    for half in (False, True):
        tree.append(f"subgraph cluster_half{int(half)} {{ margin=0; ")
        tree += _nested(
            sheet, [n for n in sheet.boxes if n in members and (n in sheet.gradient) is half], sheet.clusters
        )
        tree.append("}")
    for a, c in sheet.ties:
        if a in members and c in members:
            tree.append(f"{{rank=same; {a}; {c}}}")
    exits: dict[str, None] = {}
    entries: dict[str, None] = {}
    parts: dict[str, str] = {}
    for line in sheet.lines:
        first, last = _ends(line, band)
        # In "TB" layouts, labels on lines from the forward pass would push the gradient's boxes away.
        spaced = line.label and not (line.lent and rankdir == "TB")
        label = f', label="{_quoted(_aside(line.label))}"' if spaced else ""
        if band[first] == band[last] == b:
            loose = ", constraint=false" if line.lent else ""
            way = ", dir=back" if line.back else ""
            parts[line.id] = f"{line.tail} -> {line.head} [id={line.id}{loose}{way}{label}]"
        elif band[first] == b:
            wire = _wire(line, band)
            exits[wire.exit] = None
            way = "none" if line.source == first else "back"
            parts[f"{first}>{wire.exit}"] = f'{first} -> {wire.exit} [id="{first}>{wire.exit}", dir={way}]'
        elif band[last] == b:
            wire = _wire(line, band)
            entries[wire.entry] = None
            way = "none" if line.source == last else "forward"
            parts[f"{wire.entry}>{last}"] = f'{wire.entry} -> {last} [id="{wire.entry}>{last}", dir={way}{label}]'
    for rank, ports in (("max", exits), ("min", entries)):
        if ports:
            tree.append(
                "".join(f"{p} [width=0.02, height=0.02]; " for p in ports) + f"{{rank={rank}; {'; '.join(ports)}}}"
            )
    return "\n".join([*tree, *parts.values(), "}"])


def _nested(sheet: Sheet, names: list[str], clusters: Sequence[Cluster]) -> Iterator[str]:
    left = dict.fromkeys(names)
    for cluster in clusters:
        inside = [n for n in names if n in cluster.nodes]
        if inside:
            text = _quoted(cluster.label)
            yield f'subgraph {cluster.name} {{ label="{text}"; fontsize=13; fontname=Helvetica; margin=6;'
            yield from _nested(sheet, inside, cluster.inner)
            yield "}"
            for n in inside:
                left.pop(n)
    for n in left:
        w, h = sheet.boxes[n]
        yield f"{n} [width={w / 72:.4f}, height={h / 72:.4f}];"


def _aside(label: str) -> str:
    """Pad the lines of a label, to keep them off the edge."""
    return "\\n".join(f"  {line}  " for line in label.split("\\n"))


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')
