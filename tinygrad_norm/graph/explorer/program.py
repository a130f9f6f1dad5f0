"""A recorded run and its recorded gradient as plain data, which `evaluator.js` recomputes when a number changes.

The gradient is a graph of the same primitives as the function (``create_graph``), so the evaluator needs no
derivatives. Data such as comparisons keep their origins while a function is examined, so branches are recomputed, too.
Axes and strides are replaced by tables of positions (`families`).

A program is a dict that JSON can hold:

``live`` : bool
    Whether the program can be recomputed from other numbers. If not, ``reason`` says why, and ``vertices`` has the
    recorded numbers only, or nothing if the program is too large.
``vertices`` : list of dicts
    The vertices in topological order. Each has ``op`` and ``shape``. Values are flat, in C order. ``name`` is the name
    given by the function or the engine. ``dtype`` is present if values are rounded to float32. A "leaf", which can be
    edited, and a "constant" have a ``value``. The others have ``in``, the numbers of their operands, and belong to one
    of the following families. Tables are given by number. A missing or null table stands for 0, 1, 2 ...

    - "gather": element k is element ``table[k]`` of the concatenated operands. ``of`` is the primitive's name.
    - "scatter": element k of the operand is added to element ``table[k]`` of zeros.
    - "products" (matmul, einsum): element j is the sum over k from ``j * n`` to ``j * n + n - 1`` of products of one
      element of each operand, the one at ``factors[operand][k]``.
    - lanes (sum, mean, max, argsort ...): lane j holds the elements of the operand at ``table[j * n]`` and the next
      ``n - 1``. A reduction maps each lane to one number. An operation such as cumsum replaces its elements.
    - elementwise (all others): operands have the vertex's size, or size 1.

    Data can move the positions of "gather" and "scatter": each ``[operand, stride, size, table]`` of ``moves`` adds
    ``stride`` times the operand's element ``table[k]`` to position k. A negative element counts from ``size``.
``tables`` : list of lists of int
``leaves`` : dict from name to vertex
    The inputs of the function.
``cotangent``, ``output`` : int
    The vertices of dL/dy and y.
``shown`` : list of dicts
    For each of the recording's `tensors`, the vertices ``value`` and ``gradient``, which is null without gradient.
``links`` : list of dicts
    For each of the recording's `links`, its ``source`` and ``target`` among the `tensors`, the vertices of the
    contribution ``before`` and ``after`` folded bookkeeping, and of ``sum``, the sum of the contributions so far. They
    are null without gradient. ``factor`` is true if the contribution is the target's gradient times a local factor,
    elementwise. Then the factor is the contribution for a gradient of ones.
``scalars`` : list of dicts
    Constants that can be edited, such as ε: a ``vertex``, and ``at``, the one of the `tensors` where it is added or
    subtracted. Constant factors and exponents also occur in the gradient, so they cannot be edited.
``held`` : list of dicts
    Parts that keep their recorded values when numbers change: ``what``, in words, and its ``vertex``, or null if
    Python branched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.primitive import Node
from ...engine.tensor import Tensor, slope_name, walk
from .again import RecordedGradient, outside
from .families import BY_CELL, ELEMENTWISE, computation
from .links import Link
from .recording import Recording

MOST_PLACES = 40_000
"""The largest total size of the tables. Larger ones would add hundreds of kilobytes to a page."""


class _TooLargeError(Exception):
    """The tables of a program are too large for a page."""


def program(recording: Recording) -> dict[str, Any]:
    """Return a recording and its recorded gradient as data for `evaluator.js`.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    dict
        The program, as described in this module.

    Examples
    --------
    >>> import numpy as np
    >>> found = program(Recording(lambda x: x * x, {"x": np.array([1.0, 2.0])}))
    >>> [vertex["op"] for vertex in found["vertices"]]
    ['leaf', 'leaf', 'multiply', 'multiply', 'multiply', 'add']
    """
    try:
        return _Writer(recording).data()
    except _TooLargeError:
        return {"live": False, "reason": "the graph is too large to be recomputed in a page", "vertices": []}


class _Writer:
    """Creates a vertex for every recorded Tensor. Equal tables and constants are shared."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._vertices: list[dict[str, Any]] = []
        self._depends: list[bool] = []  # whether a vertex changes with the leaves
        self._tables: list[list[int]] = []
        self._known: dict[Any, int] = {}  # constants and tables, by their contents
        self._numbers: dict[Node | Tensor, int] = {}  # vertices, by node, or by Tensor for leaves
        self._scalars: list[dict[str, int]] = []
        self._held: dict[tuple[int | None, str], None] = {}
        self._reason = ""

    def data(self) -> dict[str, Any]:
        recording, number = self._recording, self._number
        cotangent = Tensor(recording.cotangent, True, name=slope_name(recording.y.name or "output"))
        leaves = {name: self._leaf(x) for name, x in recording.leaves.items()}
        seed = self._leaf(cotangent)
        self._write(recording.tensors)
        gradient = RecordedGradient(recording, cotangent)
        self._write([*gradient.contributions.values(), *gradient.sums.values()])
        for t, what in outside(recording):
            self._held[self._found(t), what] = None
        return {
            "live": not self._reason,
            **({"reason": self._reason} if self._reason else {}),
            "leaves": leaves,
            "cotangent": seed,
            "output": number(recording.y),
            "shown": [{"value": number(t), "gradient": self._found(gradient.of(t))} for t in recording.tensors],
            "links": [self._link(link, gradient) for link in recording.links],
            "scalars": self._scalars,
            "held": [{"vertex": vertex, "what": what} for vertex, what in self._held],
            "vertices": self._vertices,
            "tables": self._tables,
        }

    def _link(self, link: Link, gradient: RecordedGradient) -> dict[str, Any]:
        place = self._recording.place
        before, after = link.edges
        found: dict[str, Any] = {
            "source": place[link.source],
            "target": place[link.target],
            "before": self._found(gradient.contributions.get(before)),
            "after": self._found(gradient.contributions.get(after)),
            "sum": self._found(gradient.sums.get(after)),
        }
        has_factor = before[0].primitive.name in BY_CELL and found["before"] is not None
        return found | ({"factor": True} if has_factor else {})

    # --- vertices

    def _write(self, outputs: Sequence[Tensor]) -> None:
        for t in reversed(walk(outputs)):
            if t.node is not None and t.node not in self._numbers:
                self._numbers[t.node] = self._computed(t)

    def _found(self, t: Tensor | None) -> int | None:
        return None if t is None else self._number(t)

    def _number(self, x: Any) -> int:
        """Return the vertex of a Tensor, or of a number or array that is an operand."""
        if not isinstance(x, Tensor):
            return self._constant(np.asarray(x))
        known = self._numbers.get(x if x.node is None else x.node)
        return self._constant(x.data) if known is None else known

    def _add(self, op: str, shape: Sequence[int], operands: Sequence[int] = (), **more: Any) -> int:
        vertex = {"op": op, "shape": list(shape), **({"in": list(operands)} if operands else {})}
        self._vertices.append(vertex | {key: value for key, value in more.items() if value is not None})
        self._depends.append(op == "leaf" or any(self._depends[i] for i in operands))
        return len(self._vertices) - 1

    def _leaf(self, x: Tensor) -> int:
        self._numbers[x] = self._add("leaf", x.shape, value=in_json(x.data), name=x.name)
        return self._numbers[x]

    def _constant(self, x: Array) -> int:
        key = (x.shape, x.tobytes(), x.dtype)
        if key not in self._known:
            self._known[key] = self._add("constant", x.shape, value=in_json(x))
        return self._known[key]

    def _table(self, places: Any) -> int | None:
        """Return the number of a table of positions, or None for 0, 1, 2 ..."""
        places = np.ravel(places)
        if np.array_equal(places, np.arange(places.size)):
            return None
        key = places.tobytes()
        if key not in self._known:
            self._known[key] = len(self._tables)
            self._tables.append(places.tolist())
            if sum(map(len, self._tables)) > MOST_PLACES:
                raise _TooLargeError
        return self._known[key]

    # --- computations

    def _computed(self, t: Tensor) -> int:
        found = computation(t)
        if found is None:
            return self._unknown(t)
        if found.held is not None and self._depends[self._number(found.held)]:
            self._hold(self._number(found.held), "the elements selected by ", found.held)
        more: dict[str, Any] = {"name": t.name, "dtype": "float32" if t.dtype == np.float32 else None, **found.more}
        if found.op in ELEMENTWISE:
            operands = [self._fitted(number, t.shape) for number in self._operands(t, found.operands)]
            return self._add(found.op, t.shape, operands, **more)
        if "table" in more:
            more["table"] = self._table(more["table"])
        if "factors" in more:
            more["factors"] = [self._table(places) for places in more["factors"]]
        if "moves" in more:
            more["moves"] = [[*move, self._table(places)] for *move, places in more["moves"]]
        return self._add(found.op, t.shape, [self._number(x) for x in found.operands], **more)

    def _operands(self, t: Tensor, operands: Sequence[Any]) -> list[int]:
        """Return the vertices of an elementwise operation's operands. Each editable number has a separate vertex."""
        node: Any = t.node
        at = None if node.order else self._recording.at(t)
        if node.primitive.name not in ("add", "subtract") or at is None:
            return [self._number(x) for x in operands]
        numbers = []
        for x in operands:
            is_scalar = not isinstance(x, Tensor) and np.ndim(x) == 0
            numbers.append(self._add("constant", (), value=in_json(np.asarray(x))) if is_scalar else self._number(x))
            if is_scalar:
                self._scalars.append({"vertex": numbers[-1], "at": at})
        return numbers

    def _fitted(self, number: int, shape: tuple[int, ...]) -> int:
        """Return an operand in the shape of the result or with one element, since data are not broadcast earlier."""
        given = tuple(self._vertices[number]["shape"])
        if given == shape or math.prod(given) == 1:
            return number
        places = np.broadcast_to(np.arange(math.prod(given)).reshape(given), shape)
        return self._add("gather", shape, [number], of="broadcast_to", table=self._table(places))

    def _unknown(self, t: Tensor) -> int:
        """Write a Tensor that the evaluator cannot compute. Data are held, otherwise the program is not live."""
        node: Any = t.node
        number = self._add("constant", t.shape, value=in_json(np.real(t.data)), name=t.name)
        if any(self._depends[self._number(x)] for x in node.inputs if isinstance(x, Tensor)):
            if t.requires_grad:
                said = f"{node.primitive.symbol} in {t.dtype}" if t.dtype == np.float16 else node.primitive.symbol
                self._reason = self._reason or f"the page cannot recompute {said}"
            self._hold(number, "", t)
        return number

    def _hold(self, number: int, words: str, t: Tensor) -> None:
        recording, node = self._recording, t.node
        named = recording.computed_by(t).text if t in recording.place else node and node.primitive.symbol
        self._held[number, f"{words}{named}"] = None


def in_json(x: Array) -> list[Any]:
    """Return numbers for JSON, without loss. NaN and infinities become strings that JavaScript's `Number` reads."""
    return [_value(float(value)) for value in x.ravel().tolist()]


def _value(value: float) -> float | str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    is_short = value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0"
    return int(value) if is_short else value
