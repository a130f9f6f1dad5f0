"""The data for the page's script: programs, stages, routes, and the cells that share a statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...engine.operators import Array
from .guide import run_of_family, run_of_function, run_of_norm
from .insights import Sharing, routes, statistics_of
from .questions import questions_of
from .recording import Recording
from .scenes import Scene
from .stage import program_of, stage_of
from .states import Facts, States

VERSION = 3
PARTS_OF_PROGRAM = ("live", "reason", "vertices", "tables", "cotangent", "held")
"""The parts of a program that the script reads. The vertices of boxes and links are in the stage."""
MOST_ROUTES = 8
"""The largest number of routes that are shown side by side."""


def page_data(title: str, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return all data for the page's script. Programs and stages that scenes share are included once."""
    programs: list[Any] = []
    stages: list[Any] = []
    found = []
    for scene in scenes:
        run = program_of(scene.recording)
        stage = stage_of(scene.recording, run) | _known(scene.recording)
        data: dict[str, Any] = {"key": scene.key, "title": scene.title, "text": scene.text, "group": scene.group}
        if scene.shares is not None:
            data["shares"] = _shares(scene.shares)
        data["stage"] = _shared(stage, stages)
        data["given"] = [[i, vertex.pop("value")] for i, vertex in enumerate(run["vertices"]) if vertex["op"] == "leaf"]
        data["program"] = _shared({key: run[key] for key in PARTS_OF_PROGRAM if key in run}, programs)
        found.append(data)
    page = {"version": VERSION, "title": title, "scenes": found, "programs": programs, "stages": stages}
    return page | _ways_in(page, scenes)


def _ways_in(page: dict[str, Any], scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return the questions and the guided run, if the page has the states that they refer to."""
    at = States(page)
    if scenes[0].norm is None:
        return {"questions": [], "guide": run_of_function(at)}
    if not all(at.is_live(scene.key) and scene.shares for scene in scenes) or not at.explains(at.first):
        return {"questions": [], "guide": []}
    facts = Facts(at, scenes)
    run = run_of_norm if at.first == "train" else run_of_family
    return {"questions": questions_of(facts), "guide": run(facts)}


def _shared(part: Any, parts: list[Any]) -> int:
    """Return the position of a part in a list, and append the part if it is new."""
    if part not in parts:
        parts.append(part)
    return parts.index(part)


def _shares(sharing: Sharing) -> dict[str, Any]:
    ids: Array = sharing.ids
    return {"ids": ids.ravel().tolist(), "over": sharing.over, "kind": sharing.kind}


def _known(recording: Recording) -> dict[str, Any]:
    """Return the routes, as numbers of links, and the boxes of the parts of a norm."""
    x = next(iter(recording.leaves.values()))
    found = routes(recording, x)
    number_of = {id(link): i for i, link in enumerate(recording.links)}
    known: dict[str, Any] = {
        "routes": [
            {"links": [number_of[id(link)] for link in route.links], "stations": list(route.stations)}
            | ({} if route.term is None else {"term": route.term})
            for route in found[: MOST_ROUTES + 1]
        ]
    }
    parts = statistics_of(recording, x)
    if parts is not None:
        places = {"mean": parts.mean, "centred": parts.centred, "var": parts.var, "xHat": parts.x_hat}
        known["norm"] = {key: recording.place[t] for key, t in places.items() if t is not None}
    return known
