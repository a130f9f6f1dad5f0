"""A recorded run and its recorded gradient as plain data, which `evaluator.js` computes again when a number changes.

The gradient is a graph of the same primitives as the function (``create_graph``), so whoever computes the program again
needs no derivatives. Data such as comparisons keep their origins while a function is examined, so branches are chosen
again, too. What axes and strides do is written here into tables of places, so that the evaluator knows neither.

A program is a dict that JSON can hold:

``live`` : bool
    Whether all of it can be computed again. If not, ``reason`` says why, and ``vertices`` is empty.
``vertices`` : list of dicts
    In an order in which they can be computed. Each has ``op``, the primitive's name, and ``shape``; values are flat, in
    C order. A ``"leaf"`` has ``value``, and ``name`` if it can be edited; others have ``in``, the numbers of their
    operands, and ``name`` if the function named them. ``dtype`` is there where values are rounded to float32. Beside
    that, by family, with tables given by their number; where a table is left out, places are 0, 1, 2 ...

    - elementwise: operands have the vertex's size, or size 1.
    - ``op`` "gather": element k is element ``table[k]`` of the operands, laid end to end. ``of`` is the primitive's name.
    - ``op`` "scatter": element k of the operand is added to element ``table[k]`` of zeros.
    - lanes, such as sum, mean, max, argsort: lane j holds the elements of the operand at ``table[j * n]`` and the next
      ``n - 1``. A reduction makes one number of each lane; a running one, as cumsum, replaces the lane's elements.
    - ``op`` "products" (matmul, einsum): element j is a sum over k from ``j * n`` to ``j * n + n - 1`` of products of
      one element of each operand, that at ``factors[operand][k]``. A factor that is left out is null.
    - "gather" and "scatter" with ``moves``: places that data decide. For ``[operand, stride, size, table]`` add to place
      k ``stride`` times the operand's element ``table[k]``, which counts from the end, ``size``, where it is negative.
``tables`` : list of lists of int
``leaves`` : dict from name to vertex
    The inputs of the function.
``cotangent``, ``output`` : int
    The vertices of dL/dy and y.
``shown`` : list of dicts
    For each of the recording's `tensors` the vertices ``value`` and ``gradient``, null where nothing is differentiated.
``links`` : list of dicts
    For each of the recording's `links` the vertices of the contribution ``before`` and ``after`` folded bookkeeping,
    and ``sum``, what has arrived at the source with this contribution; all null where no gradient goes. ``factor`` says
    whether the contribution is the target's gradient times a local factor, cell by cell: what the evaluator gives
    where the gradient is 1.
``scalars`` : list of dicts
    Constants that can be edited, as ε: a ``vertex``, and ``at``, which of the `tensors` it is added to or subtracted in.
    A constant factor or exponent comes back in the gradient, so it is none.
``held`` : list of dicts
    What stays as it was recorded when numbers change: ``what``, in words, and its ``vertex``, or null if it is the way
    that Python took through the function.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.operators import Array
from ...engine.ops.shape import Place, filled
from ...engine.ops.windows import sliding_windows
from ...engine.tensor import Tensor, slope_name, walk
from .again import RecordedGradient, outside
from .recording import Link, Recording, passed

ELEMENTWISE = frozenset(
    "add subtract multiply divide negative power square sqrt root rsqrt exp log log1p expm1 sin cos tan arcsin arccos "
    "arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh hypot cbrt log2 log10 logaddexp logaddexp2 sigmoid erf "
    "absolute sign maximum minimum remainder fmod floor_divide floor ceil rint trunc where clip finite detach "
    "equal not_equal less less_equal greater greater_equal isnan isinf isfinite isposinf isneginf signbit "
    "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_xor invert".split()
)
REARRANGING = frozenset("reshape broadcast_to transpose sliding_windows concatenate stack".split())
REDUCTIONS = frozenset("sum mean max min prod any all count_nonzero argmax argmin".split())
RUNNING = frozenset("cumsum cumprod argsort".split())
BY_CELL = ELEMENTWISE | REDUCTIONS
"""Operations whose rules multiply the gradient by a local factor."""
MOST_PLACES = 40_000
"""Programs with more places in their tables are not live: a page would grow by hundreds of kilobytes."""
_OTHERWISE = {"fix": "trunc"}
_OF_BOOLS = {"add": "logical_or", "multiply": "logical_and", "invert": "logical_not"}

Vertex = dict[str, Any]


class _Unsupported(Exception):
    """Says, for people, what the evaluator cannot compute."""


def program(recording: Recording) -> dict[str, Any]:
    """Return a recording and its recorded gradient as data that `evaluator.js` computes again.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    dict
        As this module describes it.

    Examples
    --------
    >>> import numpy as np
    >>> found = program(Recording(lambda x: x * x, {"x": np.array([1.0, 2.0])}))
    >>> [vertex["op"] for vertex in found["vertices"]]
    ['leaf', 'leaf', 'multiply', 'multiply', 'multiply', 'add']
    """
    try:
        return _Writer(recording).data()
    except _Unsupported as reason:
        return {"live": False, "reason": str(reason), "vertices": [], "tables": [], "held": []}


class _Writer:
    """Gives every recorded Tensor a vertex, and shares tables and constants that are equal."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._vertices: list[Vertex] = []
        self._depends: list[bool] = []  # whether a vertex changes with the leaves
        self._tables: list[list[int]] = []
        self._held: list[dict[str, Any]] = []
        self._scalars: list[dict[str, int]] = []
        self._numbers: dict[Any, int] = {}  # by node, or by Tensor where there is none
        self._known: dict[Any, int] = {}  # constants and tables, by their contents

    def data(self) -> dict[str, Any]:
        recording = self._recording
        cotangent = Tensor(recording.cotangent, True, name=slope_name(recording.y.name or "output"))
        leaves = {name: self._leaf(x) for name, x in recording.leaves.items()}
        seed = self._leaf(cotangent)
        self._write(recording.tensors)
        gradient = RecordedGradient(recording, cotangent)
        self._write([*gradient.contributions.values(), *gradient.sums.values()])
        for t, what in outside(recording):
            self._held.append({"vertex": self._number(t), "what": what})
        return {
            "live": True,
            "vertices": self._vertices,
            "tables": self._tables,
            "leaves": leaves,
            "cotangent": seed,
            "output": self._number(recording.y),
            "shown": [{"value": self._number(t), "gradient": self._number(gradient.of(t))} for t in recording.tensors],
            "links": [self._link(link, gradient) for link in recording.links],
            "scalars": self._scalars,
            "held": self._held,
        }

    def _link(self, link: Link, gradient: RecordedGradient) -> dict[str, Any]:
        node: Any = link.target.node
        before = (node, link.operand)
        after = (link.chain[-1].node, passed(link.chain[-1])) if link.chain else before
        place = self._recording.place
        found: dict[str, Any] = {
            "source": place[link.source],
            "target": place[link.target],
            "before": self._number(gradient.contributions.get(before)),
            "after": self._number(gradient.contributions.get(after)),
            "sum": self._number(gradient.sums.get(after)),
        }
        return found | ({"factor": True} if node.primitive.name in BY_CELL else {})

    # --- vertices

    def _write(self, outputs: Sequence[Tensor]) -> None:
        for t in reversed(walk(outputs)):
            if t.node not in self._numbers:
                self._numbers[t.node] = self._computed(t, t.node)

    def _number(self, x: Any) -> int | None:
        """Return the vertex of a Tensor, or of a number or array that operations compute with."""
        if x is None or (isinstance(x, Tensor) and (x if x.node is None else x.node) in self._numbers):
            return None if x is None else self._numbers[x if x.node is None else x.node]
        return self._constant(x.data if isinstance(x, Tensor) else np.asarray(x))

    def _add(self, op: str, shape: Sequence[int], inputs: Sequence[int] = (), **more: Any) -> int:
        vertex: Vertex = {"op": op, "shape": list(shape), **({"in": list(inputs)} if inputs else {})}
        self._vertices.append(vertex | {key: value for key, value in more.items() if value is not None})
        self._depends.append(op == "leaf" or any(self._depends[i] for i in inputs))
        return len(self._vertices) - 1

    def _leaf(self, x: Tensor) -> int:
        self._numbers[x] = self._add("leaf", x.shape, value=_values(x.data), name=x.name)
        return self._numbers[x]

    def _constant(self, x: Array, shared: bool = True) -> int:
        if x.dtype.kind not in "biuf":
            raise _Unsupported(f"the page computes with real numbers, and {x.dtype} is no type of them")
        key = (x.shape, x.astype(np.float64).tobytes())
        if key not in self._known or not shared:
            number = self._add("constant", x.shape, value=_values(x))
            return self._known.setdefault(key, number) if shared else number
        return self._known[key]

    def _table(self, places: Any) -> int | None:
        """Return the number of a table of places, or None if they are 0, 1, 2 ..."""
        places = np.ravel(places).astype(np.int64)
        if np.array_equal(places, np.arange(places.size)):
            return None
        key = places.tobytes()
        if key not in self._known:
            self._known[key] = len(self._tables)
            self._tables.append(places.tolist())
            if sum(map(len, self._tables)) > MOST_PLACES:
                raise _Unsupported("it is too large to be computed again in a page")
        return self._known[key]

    # --- the families

    def _computed(self, t: Tensor, node: Any) -> int:
        name, of_bools = node.primitive.name, t.dtype.kind == "b"
        if t.dtype.kind not in "biuf" or (t.dtype.kind == "f" and t.dtype.char not in "fd"):
            raise _Unsupported(f"the page computes in float64 and float32, and {node.primitive.symbol} in {t.dtype}")
        more = {"name": t.name, "dtype": "float32" if t.dtype.char == "f" else None}
        name = _OF_BOOLS.get(name, name) if of_bools else _OTHERWISE.get(name, name)
        if name in ELEMENTWISE and (node.primitive.rules or not node.static):
            return self._elementwise(name, t, more)
        if name in REARRANGING:
            arrays = node.arrays
            places = node.primitive.forward(*_numbered(arrays), **node.static)
            return self._gather(t, node.inputs, places, more)
        write = getattr(self, f"_{name}", self._lanes if name in REDUCTIONS | RUNNING else self._unknown)
        return write(t, node, more)  # type: ignore[no-any-return]

    def _elementwise(self, name: str, t: Tensor, more: Vertex) -> int:
        node: Any = t.node
        numbers = []
        for x, bound in zip(node.inputs, (None, -math.inf, math.inf), strict=False):
            is_scalar = name in ("add", "subtract") and not node.order and isinstance(x, int | float)
            number = self._constant(np.asarray(x), False) if is_scalar else self._number(bound if x is None else x)
            numbers.append(self._fitted(number, t.shape))
            if is_scalar and t in self._recording.place:
                self._scalars.append({"vertex": numbers[-1], "at": self._recording.place[t]})
        return self._add(name, t.shape, numbers, **more)

    def _fitted(self, number: Any, shape: tuple[int, ...]) -> int:
        """Return a vertex of an elementwise operation's shape: data are not broadcast before."""
        given = tuple(self._vertices[number]["shape"])
        if given == shape or math.prod(given) == 1:
            return int(number)
        places = np.broadcast_to(np.arange(math.prod(given)).reshape(given), shape)
        return self._add("gather", shape, [number], of="broadcast_to", table=self._table(places))

    def _gather(self, t: Tensor, inputs: Sequence[Any], places: Any, more: Vertex) -> int:
        node: Any = t.node
        numbers: Any = [self._number(x) for x in inputs]
        return self._add("gather", t.shape, numbers, of=node.primitive.name, table=self._table(places), **more)

    def _astype(self, t: Tensor, node: Any, more: Vertex) -> int:
        number: Any = self._number(node.inputs[0])
        if t.dtype.kind == "b":
            return self._add("not_equal", t.shape, [number, self._constant(np.zeros(()))], **more)
        return self._add("detach" if t.dtype.kind == "f" else "trunc", t.shape, [number], **more)

    def _pad(self, t: Tensor, node: Any, more: Vertex) -> int:
        values = np.reshape(node.static["value"], (-1, 2))
        x = np.arange(node.arrays[0].size).reshape(node.arrays[0].shape)
        beyond = x.size + np.arange(values.size).reshape(values.shape)
        places = np.pad(x, node.static["width"], constant_values=beyond)
        return self._gather(t, [node.inputs[0], values], places, more)

    def _lanes(self, t: Tensor, node: Any, more: Vertex) -> int:
        name, x = node.primitive.name, node.inputs[0]
        if node.primitive.rules:
            options = {"axis": 0, **node.static}
        else:
            bound = inspect.signature(node.primitive.forward).bind(*node.inputs, **node.static)
            bound.apply_defaults()
            options = bound.arguments
            if options.get("out") is not None or options.get("where", True) not in (True, np._NoValue):
                return self._unknown(t, node, more)
        axis = range(x.ndim) if options["axis"] is None else np.atleast_1d(np.asarray(options["axis"], int))
        axes = [i % x.ndim for i in axis]
        order = [*(i for i in range(x.ndim) if i not in axes), *sorted(axes)]
        places = np.arange(x.size).reshape(x.shape).transpose(order)
        number: Any = self._number(x)
        n = math.prod(x.shape[i] for i in axes)
        return self._add(name, t.shape, [number], n=n, table=self._table(places), **more)

    def _matmul(self, t: Tensor, node: Any, more: Vertex) -> int:
        lead = "ABCDEFGH"[: t.ndim - 2]
        return self._products(t, node, (f"{lead}ij", f"{lead}jk"), f"{lead}ik", more)

    def _einsum(self, t: Tensor, node: Any, more: Vertex) -> int:
        return self._products(t, node, node.static["terms"], node.static["result"], more)

    def _products(self, t: Tensor, node: Any, terms: Sequence[str], result: str, more: Vertex) -> int:
        sizes = {
            label: n for term, x in zip(terms, node.arrays, strict=True) for label, n in zip(term, x.shape, strict=True)
        }
        labels = result + "".join(sorted({*"".join(terms)} - {*result}))
        at = dict(zip(labels, np.indices([sizes[label] for label in labels]), strict=True))
        n = math.prod(sizes[label] for label in labels[len(result) :])
        factors = []
        for term in terms:
            places = np.zeros(())
            for label in term:
                places = places * sizes[label] + at[label]
            factors.append(self._table(np.broadcast_to(places, [sizes[label] for label in labels])))
        numbers: Any = [self._number(x) for x in node.inputs]
        return self._add("products", t.shape, numbers, of=node.primitive.name, n=n, factors=factors, **more)

    def _overlap_add(self, t: Tensor, node: Any, more: Vertex) -> int:
        k = len(node.static["stride"])
        size = node.arrays[0].shape[node.arrays[0].ndim - k :]
        places = sliding_windows(np.arange(t.size).reshape(t.shape), size, node.static["stride"])
        return self._scattered(t, node, places, None, more)

    def _getitem(self, t: Tensor, node: Any, more: Vertex) -> int:
        places, moves = self._chosen(node, node.arrays[0].shape)
        numbers: Any = [self._number(x) for x in (node.inputs if moves else node.inputs[:1])]
        table = self._table(places)
        return self._add("gather", t.shape, numbers, of="getitem", table=table, moves=moves, **more)

    def _scatter(self, t: Tensor, node: Any, more: Vertex) -> int:
        return self._scattered(t, node, *self._chosen(node, t.shape), more)

    def _scattered(self, t: Tensor, node: Any, places: Any, moves: Any, more: Vertex) -> int:
        numbers: Any = [self._number(x) for x in (node.inputs if moves else node.inputs[:1])]
        table = self._table(places)
        return self._add("scatter", t.shape, numbers, of=node.primitive.name, table=table, moves=moves, **more)

    def _chosen(self, node: Any, shape: tuple[int, ...]) -> tuple[Array, list[Any] | None]:
        """Return which places of an array of a shape an index names, and how Tensors in the index move them."""
        index, found = node.static["index"], node.arrays[1:]
        x = np.arange(math.prod(shape)).reshape(shape)
        kinds = {place.dtype.kind for place in map(np.asarray, found)}
        if not found or "b" in kinds:
            for place in node.inputs[1:]:
                self._hold(self._number(place), place, "which elements are chosen")
            return x[filled(index, found)], None
        zeros = [np.zeros_like(place) for place in found]
        moves = []
        for position, part in enumerate(index):
            if type(part) is Place:
                axis = _axis(index, position, len(shape))
                place = np.asarray(found[part])
                # Along the axis each element is its own coordinate, so what is read is which element of the place.
                size = (*shape[:axis], place.size, *shape[axis + 1 :])
                coordinates = np.moveaxis(
                    np.broadcast_to(np.arange(place.size), (*size[:axis], *size[axis + 1 :], place.size)), -1, axis
                )
                own = [np.arange(place.size).reshape(place.shape) if i == part else z for i, z in enumerate(zeros)]
                table = self._table(coordinates[filled(index, own)])
                moves.append([1 + part, math.prod(shape[axis + 1 :]), shape[axis], table])
        return x[filled(index, zeros)], moves

    def _unknown(self, t: Tensor, node: Any, more: Vertex) -> int:
        if t.requires_grad:
            raise _Unsupported(f"the page cannot compute {node.primitive.symbol}")
        number = self._constant(t.data, False)
        if any(self._depends[self._number(x)] for x in node.inputs if isinstance(x, Tensor)):
            self._hold(number, t)
        return number

    def _hold(self, number: Any, t: Tensor, what: str = "") -> None:
        recording = self._recording
        called = recording.computed_by(t).text if t in recording.place else t.node.primitive.name
        self._held.append({"vertex": number, "what": f"{what} by {called}" if what else called})


def _numbered(arrays: Sequence[Array]) -> list[Array]:
    """Return arrays of the places of all elements, laid end to end."""
    ends = np.cumsum([0, *(x.size for x in arrays)])
    return [start + np.arange(x.size).reshape(x.shape) for start, x in zip(ends, arrays, strict=False)]


def _axis(index: tuple[Any, ...], position: int, ndim: int) -> int:
    """Return which axis a part of an index reads."""

    def axes(parts: Sequence[Any]) -> int:
        return sum(np.ndim(part) if np.asarray(part).dtype.kind == "b" else part is not None for part in parts)

    before = index[:position]
    return ndim - axes(index[position:]) if any(part is Ellipsis for part in before) else axes(before)


def _values(x: Array) -> list[Any]:
    """Return numbers as JSON holds them, without loss; what is not finite as words that JavaScript's `Number` reads."""
    return [
        (int(v) if v == int(v) and abs(v) < 2**53 and (v or math.copysign(1, v) > 0) else v)
        if math.isfinite(v)
        else "NaN"
        if math.isnan(v)
        else "Infinity"
        if v > 0
        else "-Infinity"
        for v in map(float, x.ravel().tolist())
    ]
