"""The stage of a page: the positions of the boxes, and the parts of each step from box to box.

It has no numbers: the page computes them by running the recorded program. Boxes and links refer to its vertices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.tensor import Tensor
from .. import formulas
from ..render import layout
from ..text import in_words
from .links import Link
from .program import in_json, program
from .recording import Recording
from .source import source_of

# Sizes in pixels, as in page.css: cells with digits, their margins, and cells with colour only.
CELL, LINE, HEAD, RIM = 36, 17, 19, 9
LETTER = 6.6
COLOUR, COLOUR_LINE = 15, 12
MINI, MINI_LINE = 10, 8
MOST_ROWS, MOST_COLUMNS = 16, 24
WIDEST, TALLEST = 8, 8
"""Arrays with more columns or rows are shown without digits."""
SCREEN, LEAST_SCALE = (1340, 400), 0.75
"""So are the arrays of a graph that fits the stage only at a smaller scale than this."""

_SAME_UNIT = frozenset({
    "add", "subtract", "negative", "mean", "sum", "max", "min", "maximum", "minimum", "where", "clip", "absolute",
    "reshape", "broadcast_to", "transpose", "astype", "getitem", "concatenate", "stack", "pad", "cumsum",
})  # fmt: skip

_WHY: Mapping[str, str | tuple[str, str]] = {
    "multiply": "the derivative of a product is the other factor",
    "divide": ("the gradient is divided by the same denominator", "a larger denominator makes the quotient smaller"),
    "square": "the derivative of a square is twice the base",
    "mean": "a mean divides its gradient equally among its {n} values",
    "sum": "a sum passes its gradient to every term",
    "add": "a sum passes the gradient on unchanged",
    "subtract": ("a difference passes the gradient on unchanged", "a difference changes the sign of the gradient"),
    "negative": "the sign changes",
    "rsqrt": "the derivative of 1/√ is −½ times its cube",
    "sqrt": "the derivative of √ is 1 over twice the root",
    "exp": "exp is its own derivative",
    "log": "the derivative of log is 1 over its argument",
    "matmul": "the gradient is multiplied by the other matrix, transposed",
    "max": "only the largest value gets the gradient; ties share it",
    "min": "only the smallest value gets the gradient; ties share it",
    "maximum": "only the larger value gets the gradient",
    "minimum": "only the smaller value gets the gradient",
    "where": "the gradient goes to the operand that was selected",
}


def program_of(recording: Recording) -> dict[str, Any]:
    """Return the program of a recording, or the recorded numbers, with large arrays cut, if it is too large."""
    found = program(recording)
    if found["vertices"]:
        return found
    vertices: list[dict[str, Any]] = []

    def held(array: Array) -> int:
        corner = array[tuple(slice(0, 8 if array.ndim < 3 else 3) for _ in array.shape)]
        vertices.append({"op": "constant", "shape": list(corner.shape), "value": in_json(np.round(corner, 7))})
        return len(vertices) - 1

    arrived: dict[Tensor, Array] = {}
    links: list[dict[str, Any]] = []
    for link in recording.links:
        known: dict[str, Any] = {"before": None}
        if link.before is not None and link.after is not None:
            total = link.after + arrived[link.source] if link.source in arrived else link.after
            arrived[link.source] = total
            known = {"before": held(link.before), "after": held(link.after), "sum": held(total)}
            if link.after.shape == link.before.shape:
                known["after"] = known["before"]
        links.append(known)
    shown = [
        {"value": held(t.data), "gradient": held(recording.gradients[t]) if t in recording.gradients else None}
        for t in recording.tensors
    ]
    return found | {"vertices": vertices, "links": links, "shown": shown, "cotangent": shown[-1]["gradient"]}


def stage_of(recording: Recording, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return boxes, links and two layouts of a recording, for the page's script."""
    units = _units(recording)
    boxes = [_box(recording, t, units[t], shown) for t, shown in zip(recording.tensors, run["shown"], strict=True)]
    for box, t in zip(boxes, recording.tensors, strict=True):
        if (shape := run["vertices"][box["v"]]["shape"]) != box["shape"]:
            box |= {"shape": shape, "all": in_words(t.shape)}
    links = [_link(recording, link, known) for link, known in zip(recording.links, run["links"], strict=True)]
    x = next(iter(recording.leaves.values()))
    code = source_of([recording.calls(t) for t in recording.tensors])
    return {
        "boxes": boxes,
        "links": links,
        "x": recording.place[x],
        "y": recording.place[recording.y],
        "cotangent": run["cotangent"],
        "inputs": [recording.place[t] for t in recording.leaves.values()],
        "epsilons": _epsilons(run["vertices"], recording.epsilon),
        **({} if code is None else {"code": code}),
        **_layouts(boxes, links),
    }


def tidy(text: str) -> str:
    """Return a formula in the stage's notation: a dot for a product, and no sign after ½ and 2."""
    text = text.replace(" × ", " · ").replace("½ · ", "½ ").replace("2 · ", "2 ")
    text = re.sub(r"\((\w+)ᵀ\)ᵀ", r"\1", text)
    half = re.fullmatch(r"−(\S+) / 2", text)
    return f"−½ {half[1]}" if half else text


def _box(recording: Recording, t: Tensor, unit: int, shown: Mapping[str, Any]) -> dict[str, Any]:
    called = recording.called(t)
    box: dict[str, Any] = {"v": shown["value"], "name": tidy(called.text), "shape": list(t.shape), "unit": unit}
    if t.name and t.name != called.text:
        box["whole"] = t.name
    if t.node is not None:
        box |= {"op": t.node.primitive.name, "made": tidy(recording.computed_by(t).text)}
        box["of"] = [tidy(name.text) for name in recording.operands(t)]
    if t in recording.gradients:
        box |= {"g": shown["gradient"], "slope": tidy(formulas.slope(called).text)}
    return box


def _link(recording: Recording, link: Link, known: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"s": recording.place[link.source], "t": recording.place[link.target]}
    if known["before"] is None:
        return data
    data |= {key: known[key] for key in ("before", "after", "sum")}
    if known.get("factor"):
        data["cellwise"] = True
    data |= {"factor": tidy(recording.factor(link).text), "why": _why(recording, link)}
    if over := recording.summed_over(link):
        data["over"] = over
    elif words := recording.arriving(link):
        data["back"] = words
    return data


def _epsilons(vertices: Sequence[Mapping[str, Any]], epsilon: float | None) -> list[int]:
    """Return the vertices of ε."""
    added = {i for vertex in vertices if vertex["op"] == "add" for i in vertex["in"]}
    return [i for i in sorted(added) if vertices[i]["op"] == "constant" and vertices[i]["value"] == [epsilon]]


def _why(recording: Recording, link: Link) -> str:
    node = link.target.node
    assert node is not None
    why = _WHY.get(node.primitive.name, f"the local rule is {tidy(recording.rule(link).text)}")
    why = why if isinstance(why, str) else why[min(link.operand, 1)]
    return why.format(n=node.arrays[0].size // max(link.target.size, 1)) if "{n}" in why else why


def _units(recording: Recording) -> dict[Tensor, int]:
    """Return a number for each array. Arrays that are added or averaged have equal numbers and share a colour scale."""
    found = {t: i for i, t in enumerate(recording.tensors)}
    for link in recording.links:
        node = link.target.node
        if node is not None and node.primitive.name in _SAME_UNIT:
            old, new = sorted((found[link.source], found[link.target]), reverse=True)
            found = {t: new if unit == old else unit for t, unit in found.items()}
    return found


# The layout of the boxes.


def rows_and_columns(shape: Sequence[int]) -> tuple[int, int]:
    """Return the number of rows and columns that show an array. For images, samples and rows go down."""
    if len(shape) < 3:
        rows, columns = (1, *shape)[-2:] if shape else (1, 1)
    elif len(shape) == 3:
        rows, columns = shape[0], shape[1] * shape[2]
    else:
        rows, columns = shape[0] * shape[-2], 1
        for size in (*shape[1:-2], shape[-1]):
            columns *= size
    return rows, columns


def _layouts(boxes: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the layout from left to right, with digits if they fit, and the one from top to bottom for phones."""
    sizes = [rows_and_columns(box["shape"]) for box in boxes]
    digits = max(rows for rows, _ in sizes) <= TALLEST and max(columns for _, columns in sizes) <= WIDEST
    mini = [_mini(box) for box in boxes]
    tall = _laid_out(boxes, links, mini, "TB", 10, 12)
    wide = _with_room(boxes, links) if digits else None
    if wide is None or min(SCREEN[0] / wide["w"], SCREEN[1] / wide["h"]) < LEAST_SCALE:
        wide = _laid_out(boxes, links, [_with_colours(box) for box in boxes], "LR", 10, 17)
        return {"digits": False, "wide": wide, "tall": tall}
    return {"digits": True, "wide": wide, "tall": tall}


def _with_room(boxes: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the layout with digits. If it is too wide for full size, the ranks are closer together."""
    sizes = [_with_digits(box) for box in boxes]
    wide = _laid_out(boxes, links, sizes, "LR", 10, 17)
    return wide if wide["w"] <= SCREEN[0] else _laid_out(boxes, links, sizes, "LR", 10, 12)


def _with_digits(box: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = rows_and_columns(box["shape"])
    halves = 2 if "slope" in box else 1
    title = LETTER * len(box["name"]) + 10
    return max(columns * CELL + 8, round(min(title, 190)), 58), HEAD + halves * rows * LINE + RIM


def _with_colours(box: Mapping[str, Any]) -> tuple[int, int]:
    """Return the size of a box with coloured matrices. Large matrices have smaller cells."""
    rows, columns = rows_and_columns(box["shape"])
    halves = 2 if "slope" in box else 1
    rows, columns = min(rows, MOST_ROWS), min(columns, MOST_COLUMNS)
    is_large = rows > TALLEST or columns > WIDEST
    width, height = (MINI, MINI_LINE) if is_large else (COLOUR, COLOUR_LINE)
    return max(columns * width + 10, min(8 * len(box["name"]) + 60, 190)), HEAD + halves * rows * height + RIM


def _mini(box: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = rows_and_columns(box["shape"])
    halves = 2 if "slope" in box else 1
    title = min(9 * len(box["name"]), 120) + 8
    matrices = halves * (min(columns, MOST_COLUMNS) * MINI + 4)
    return max(112, title + matrices + 12), max(26, min(rows, MOST_ROWS) * MINI_LINE + 10)


def _laid_out(
    boxes: Sequence[Mapping[str, Any]],
    links: Sequence[Mapping[str, Any]],
    sizes: Sequence[tuple[int, int]],
    direction: str,
    apart: float,
    ranks: float,
) -> dict[str, Any]:
    """Return Graphviz's layout of boxes of given sizes: their positions and the points of curves, in pixels."""
    found = layout(_dot(boxes, links, sizes, direction, apart, ranks))
    _, _, width, height = map(float, found["bb"].split(","))
    objects = {each["name"]: each for each in found["objects"]}
    corners = []
    for i, (w, h) in enumerate(sizes):
        x, y = map(float, objects[f"n{i}"]["pos"].split(","))
        corners.append([round(x - w / 2, 1), round(height - y - h / 2, 1), w, h])
    curves = {int(edge["id"]): edge["pos"] for edge in found.get("edges", ())}
    points = [[round(n, 1) for pair in curves[i].split() for n in _flipped(pair, height)] for i in range(len(links))]
    return {"w": round(width), "h": round(height), "boxes": corners, "edges": points}


def _flipped(pair: str, height: float) -> tuple[float, float]:
    x, y = map(float, pair.split(","))
    return x, height - y


def _dot(
    boxes: Sequence[Mapping[str, Any]],
    links: Sequence[Mapping[str, Any]],
    sizes: Sequence[tuple[int, int]],
    direction: str,
    apart: float,
    ranks: float,
) -> str:
    """Return DOT text. Edges between arrays of equal shape have more weight, so that the main line is straight."""
    lines = [f"digraph {{ rankdir={direction} nodesep={apart / 72} ranksep={ranks / 72} margin=0"]
    lines.append('node [shape=box fixedsize=true label=""] edge [dir=none]')
    lines += [f"n{i} [width={w / 72} height={h / 72}]" for i, (w, h) in enumerate(sizes)]
    for i, link in enumerate(links):
        source, target = boxes[link["s"]], boxes[link["t"]]
        rows, columns = rows_and_columns(source["shape"])
        straight = source["shape"] == target["shape"] and rows > 1 and columns > 1 and target["op"] != "square"
        lines.append(f"n{link['s']} -> n{link['t']} [id={i} weight={30 if straight else 1}]")
    return "\n".join([*lines, "}"])
