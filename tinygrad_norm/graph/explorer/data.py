"""Scenes as JSON: arrays rounded to seven digits, formulas as trees, what is known about each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.tensor import Tensor
from ..formulas import slope
from .insights import CLOSED_FORM, in_words, invariants, moved, routes, statistics_of
from .recording import MOST_CELLS, Recording
from .scenes import Scene
from .stage import program_of, stage_of

VERSION = 2
PARTS_OF_PROGRAM = ("live", "reason", "vertices", "tables", "cotangent", "held")
"""What the page's script reads of a program; boxes and links have their vertices from the stage."""
MOST_VALUES = 256
"""Larger arrays are summarized, and the page says so."""


def page_data(title: str, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return everything the page's script reads; programs and stages that scenes share stand there once."""
    by_key = {scene.key: scene for scene in scenes}
    programs: list[Any] = []
    stages: list[Any] = []
    found = [_scene(scene, by_key.get(scene.compare or "")) for scene in scenes]
    for data, scene in zip(found, scenes, strict=True):
        run = program_of(scene.recording)
        data["stage"] = _shared(stage_of(scene.recording, run), stages)
        data["given"] = [[i, vertex.pop("value")] for i, vertex in enumerate(run["vertices"]) if vertex["op"] == "leaf"]
        data["program"] = _shared({key: run[key] for key in PARTS_OF_PROGRAM if key in run}, programs)
    return {"version": VERSION, "title": title, "scenes": found, "programs": programs, "stages": stages}


def _shared(part: Any, parts: list[Any]) -> int:
    """Return where a part stands in a list, to which it is added if it is new."""
    if part not in parts:
        parts.append(part)
    return parts.index(part)


def numbers(array: Array) -> Any:
    """Return the values in C order, or what sums them up."""
    if array.size > MOST_VALUES:
        finite = array[np.isfinite(array)]
        return {
            "min": _number(finite.min(initial=np.inf)),
            "mean": _number(finite.mean()),
            "max": _number(finite.max(initial=-np.inf)),
        }
    return [_number(value) for value in array.ravel().tolist()]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        rounded = float(f"{value:.7g}")
        return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e9 else rounded
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"


def _scene(scene: Scene, other: Scene | None) -> dict[str, Any]:
    recording = scene.recording
    x = next(iter(recording.leaves.values()))
    data: dict[str, Any] = {
        "key": scene.key,
        "title": scene.title,
        "text": scene.text,
        "tab": scene.tab,
        "compare": scene.compare,
        "x": recording.place[x],
        "y": recording.place[recording.y],
        "nodes": [_node(recording, t) for t in recording.tensors],
        "links": _links(recording),
        **_known(recording, x),
    }
    if scene.examined and x.size <= MOST_CELLS and recording.is_examined:
        _add_dependence(data, recording, x)
        for node, t in zip(data["nodes"], recording.tensors, strict=True):
            if t.requires_grad and t.size <= MOST_CELLS:
                node["differences"], node["uncertain"] = map(_number, _error(recording, t))
    if other is not None:
        _add_comparison(data, recording, other.recording)
    return data


def _error(recording: Recording, t: Tensor) -> tuple[float, float]:
    """Return the largest difference to central differences, and how uncertain these are there.

    One that they are certain of comes before a larger one that they are not.
    """
    if t.size == 0:
        return 0.0, 0.0
    slopes, uncertain = recording.by_differences(t)
    error = np.abs(slopes - recording.gradients[t])
    certain = error > uncertain
    worst = int(np.argmax(error * (certain if certain.any() else 1)))
    return float(error.flat[worst]), float(uncertain.flat[worst])


def _node(recording: Recording, t: Tensor) -> dict[str, Any]:
    called = recording.called(t)
    node: dict[str, Any] = {"name": called.text, "tree": called.tree, "shape": list(t.shape)}
    if t.name and t.name != called.text:
        node["whole"] = t.name
    if t.node is not None:
        computed = recording.computed_by(t)
        node |= {"by": computed.text, "byTree": computed.tree}
    node["value"] = numbers(t.data)
    if t in recording.gradients:
        node |= {"gradient": numbers(recording.gradients[t]), "slope": slope(recording.called(t)).text}
    return node


def _links(recording: Recording) -> list[dict[str, Any]]:
    arrived: dict[Tensor, Array] = {}
    links = []
    for link in recording.links:
        data: dict[str, Any] = {"source": recording.place[link.source], "target": recording.place[link.target]}
        if link.before is not None and link.after is not None:
            rule = recording.rule(link)
            data |= {"rule": rule.text, "ruleTree": rule.tree, "before": numbers(link.before)}
            data["beforeShape"] = list(link.before.shape)
            words = recording.arriving(link)
            if words:
                data |= {"words": words, "after": numbers(link.after)}
            if link.source in arrived:
                total = arrived[link.source] + link.after
                data["total"] = numbers(total)
                arrived[link.source] = total
            else:
                arrived[link.source] = link.after
        links.append(data)
    return links


def _known(recording: Recording, x: Tensor) -> dict[str, Any]:
    """Return routes, the closed form and invariants, where the function is a norm or has few paths."""
    number_of = {id(link): i for i, link in enumerate(recording.links)}
    found = routes(recording, x)
    known: dict[str, Any] = {
        "routes": [
            {
                "stations": list(route.stations),
                "links": [number_of[id(link)] for link in route.links],
                "contribution": numbers(route.contribution),
                **({} if route.term is None else {"term": route.term.text, "termTree": route.term.tree}),
                **({} if route.expected is None else {"expected": numbers(route.expected)}),
            }
            for route in found
        ]
    }
    parts = statistics_of(recording, x)
    if parts is not None:
        closed: Array = np.sum([route.expected for route in found if route.expected is not None], axis=0)
        known["closedForm"] = numbers(closed)
        known["closedFormError"] = _number(float(np.abs(closed - recording.gradients[x]).max()))
        over = recording.over(parts.axes, parts.centred)
        known |= {"closedFormText": CLOSED_FORM.text, "closedFormTree": CLOSED_FORM.tree}
        known["invariants"] = [
            {"text": text, "values": numbers(values), "largest": largest}
            for text, values, largest in invariants(recording, x, over)
        ]
    return known


def _add_dependence(data: dict[str, Any], recording: Recording, x: Tensor) -> None:
    """Write which cells of x each cell depends on; equal sets are written once."""
    sets: dict[tuple[int, ...], int] = {}

    def named(rows: Array) -> list[int]:
        return [sets.setdefault(tuple(np.flatnonzero(row).tolist()), len(sets)) for row in rows]

    for t, (value, gradient) in recording.depends(x).items():
        node = data["nodes"][recording.place[t]]
        node["valueSets"] = named(value)
        if t in recording.gradients:
            node["gradientSets"] = named(gradient)
    data["sets"] = [list(cells) for cells in sets]


def _add_comparison(data: dict[str, Any], recording: Recording, other: Recording) -> None:
    x, other_x = (next(iter(r.leaves.values())) for r in (recording, other))
    cells = {
        "x": moved(other_x.data, x.data, within=0),
        "y": moved(other.y.data, recording.y.data),
        "dx": moved(other.gradients[other_x], recording.gradients[x]),
    }
    of_x, of_y = recording.called(x), recording.called(recording.y)
    names = {"x": of_x.text, "y": of_y.text, "dx": slope(of_x).text}
    data["moved"] = {
        key: np.flatnonzero(value).tolist() if value.size <= MOST_VALUES else [] for key, value in cells.items()
    }
    data["movedWords"] = "; ".join(in_words(value, names[key]) for key, value in cells.items()) + " (to three digits)."
