"""The evaluator in a browser beside the engine: the same graph, the same numbers, every array that a page shows."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_norm.engine.origins import examine
from tinygrad_norm.engine.tensor import Tensor, backpropagate, walk
from tinygrad_norm.graph import explorer
from tinygrad_norm.graph.explorer.program import program
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.offline import as_json

SCRIPT = (Path(explorer.__file__).parent / "evaluator.js").read_text(encoding="utf-8")

# Evaluates every edit, and returns the wanted values of all of them in one string.
_EVALUATE = """text => {
  const { program, edits, wanted } = JSON.parse(text);
  const found = edits.flatMap(edit => {
    const values = Evaluator.evaluate(program, new Map(edit));
    return wanted.flatMap(vertex => [...values[vertex]]);
  });
  const bytes = new Uint8Array(Float64Array.from(found).buffer);
  let packed = "";
  for (let i = 0; i < bytes.length; i += 4096) packed += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(packed);
}"""


_TINY = 1e-200


@dataclass
class Case:
    """A function to be evaluated again; with ``eps``, it takes that after its inputs. ``positive`` inputs stay so."""

    fn: Callable[..., Any]
    inputs: dict[str, np.ndarray]
    eps: float | None = None
    positive: tuple[str, ...] = ()
    tolerance: float = 1e-9

    def with_eps(self, eps: float | None) -> Callable[..., Any]:
        return self.fn if eps is None else lambda *xs: self.fn(*xs, eps)


@dataclass
class Point:
    """Where a case is evaluated."""

    inputs: dict[str, np.ndarray]
    cotangent: np.ndarray
    eps: float | None = None


@dataclass
class Expected:
    """What the engine gives: arrays by vertex, each with the size of the largest thing it was made of."""

    arrays: list[tuple[int, np.ndarray, float]] = field(default_factory=list)

    def add(self, vertex: int | None, array: Any, *parts: Any) -> None:
        if vertex is not None:
            self.arrays.append((vertex, np.asarray(array), max(_largest(x) for x in (array, *parts))))


def _largest(x: Any) -> float:
    x = np.abs(np.asarray(x, np.float64))
    return x[np.isfinite(x)].max(initial=0.0)


def moved(case: Case, point: Point, rng: np.random.Generator) -> Point:
    """One to three changes: of a cell of an input, of one of the cotangent, of ε from 1e-8 to 1."""
    inputs, cotangent, eps = {name: x.copy() for name, x in point.inputs.items()}, point.cotangent.copy(), point.eps
    for _ in range(rng.integers(1, 4)):
        which = rng.choice([*inputs, "cotangent", *(["eps"] if eps is not None else [])])
        if which == "eps":
            eps = float(10 ** rng.uniform(-8, 0))
        else:
            array = cotangent if which == "cotangent" else inputs[which]
            value = 2 * rng.normal()
            array.flat[rng.integers(array.size)] = abs(value) if which in case.positive else value
    return Point(inputs, cotangent, eps)


def from_the_engine(case: Case, recording: Recording, found: dict[str, Any], point: Point) -> Expected:
    """Run the function and its gradient again, and say which vertex each array is."""
    leaves = [Tensor(x, True, name=name) for name, x in point.inputs.items()]
    with np.errstate(all="ignore"):
        y = examine(case.with_eps(point.eps), *leaves)
        fresh = [*leaves, *reversed(walk([y]))]
        contributions: dict[Any, Any] = {}
        gradients = backpropagate(
            [(y, point.cotangent.astype(y.dtype))],
            visit=lambda node, operand, g: contributions.__setitem__((node, operand), np.array(g)),
        )
    recorded = [*recording.leaves.values(), *reversed(walk([recording.y]))]
    twin = dict(zip(recorded, fresh, strict=True))
    node = {a.node: b.node for a, b in twin.items()}
    expected = Expected()
    for t, shown in zip(recording.tensors, found["shown"], strict=True):
        if t in twin:
            value = twin[t]
            operands = [x.data if isinstance(x, Tensor) else x for x in value.node.inputs] if value.node else []
            expected.add(shown["value"], value.data, *(x for x in operands if x is not None))
    arrived: dict[Tensor, Any] = {}
    size = {recording.y: _largest(point.cotangent)}  # of the largest that a gradient was made of
    for link, shown in zip(recording.links, found["links"], strict=True):
        before, after = (contributions.get((node[of], operand)) for of, operand in link.edges)
        if before is not None:
            x, g = link.source, arrived.get(link.target, point.cotangent)
            arrived[x] = after if x not in arrived else arrived[x] + after
            # What has cancelled in the target's gradient is as uncertain in what is made of it.
            scale = max(_largest(before), _TINY) / max(_largest(g), _TINY) * size[link.target]
            size[x] = max(size.get(x, 0.0), scale, _largest(after))
            expected.add(shown["before"], before, scale)
            expected.add(shown["after"], after, scale)
            expected.add(shown["sum"], arrived[x], size[x])
    for t, shown in zip(recording.tensors, found["shown"], strict=True):
        if t in arrived:
            expected.add(shown["gradient"], gradients.get(twin.get(t), arrived[t]), size[t])
    return expected


def given(found: dict[str, Any], case: Case, point: Point) -> list[Any]:
    """The vertices that an edit replaces, and their values."""
    edit = [(found["leaves"][name], x.ravel().tolist()) for name, x in point.inputs.items()]
    edit.append((found["cotangent"], point.cotangent.ravel().tolist()))
    edit += [
        (s["vertex"], [point.eps]) for s in found["scalars"] if found["vertices"][s["vertex"]]["value"] == [case.eps]
    ]
    return edit


def evaluated(page: Any, found: dict[str, Any], edits: list[Any], wanted: list[int]) -> np.ndarray:
    """What the evaluator gives, a row for each edit."""
    text = page.evaluate(_EVALUATE, as_json({"program": found, "edits": edits, "wanted": wanted}))
    return np.frombuffer(base64.b64decode(text)).reshape(len(edits), -1)


def recorded(case: Case) -> tuple[Recording, dict[str, Any], Point]:
    """Record a case, and return its program as a page reads it, and where it was recorded."""
    recording = Recording(case.with_eps(case.eps), case.inputs)
    found = json.loads(as_json(program(recording)))
    return recording, found, Point(case.inputs, recording.cotangent, case.eps)


def compare(page: Any, case: Case, points: list[Point], recording: Recording, found: dict[str, Any]) -> None:
    """Hold what the evaluator gives against the engine, in shares of the largest contribution to each array."""
    expected = [from_the_engine(case, recording, found, point) for point in points]
    wanted = [vertex for vertex, *_ in expected[0].arrays]
    got = evaluated(page, found, [given(found, case, point) for point in points], wanted)
    want = np.array([np.concatenate([array.ravel() for _, array, _ in one.arrays]) for one in expected], np.float64)
    sizes = [array.size for _, array, _ in expected[0].arrays]
    scales = np.array([np.repeat([scale for *_, scale in one.arrays], sizes) for one in expected])
    with np.errstate(invalid="ignore"):
        wrong = ~((got == want) | (np.abs(got - want) <= case.tolerance * scales) | (np.isnan(got) & np.isnan(want)))
    if wrong.any():
        edit, element = np.argwhere(wrong)[0]
        vertex = found["vertices"][np.repeat(wanted, sizes)[element]]
        where = f"after edit {edit}, {got[edit, element]} where the engine gives {want[edit, element]}"
        raise AssertionError(f"{wrong.sum()} of {wrong.size} numbers are wrong: {where}, at {vertex}")
