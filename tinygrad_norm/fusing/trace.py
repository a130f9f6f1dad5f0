"""Recording of a function for each set of shapes, forward and backward, as terms over loops.

The engine's own rules record the backward pass under ``create_graph``. There is no second set of rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, NamedTuple

import numpy as np

from ..engine.context import surrounding
from ..engine.primitive import Node
from ..engine.tensor import Tensor, backpropagate, constant, walk
from .axes import Layouts, Names, name_loops, uncut
from .primitives import COMPARISONS, ELEMENTWISE, EXACT, OF_BOOLEANS, RESERVED, SAME
from .terms import SUMS, Output, Program, Term, Terms, below
from .unknown import FILL, UnfusableError, unknown


class Given(NamedTuple):
    """An array argument of a function: parameter name, shape, dtype, and whether it needs a gradient."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    needed: bool = True


class Returned(NamedTuple):
    """A result of a kernel: its name and shape, the name of the Tensor, and whether it needs a gradient."""

    name: str
    shape: tuple[int, ...]
    label: str | None = None
    needed: bool = True


@dataclass(frozen=True)
class Traced:
    """The recording of a function.

    Attributes
    ----------
    forward : Program
    backward : tuple of Programs
        For each output, the gradients of the inputs that it depends on, from the cotangent of that output.
    outputs : tuple of Returned
    sizes : mapping of str to int
        The sizes of the loops.
    traffic : tuple of int
        The number of arrays of full size that the composition reads and writes, forward, and backward from the first
        output.
    sequence : callable or None
        A function that collects several results in the tuple or list that the function returns.
    """

    forward: Program
    backward: tuple[Program, ...]
    outputs: tuple[Returned, ...]
    sizes: Mapping[str, int]
    traffic: tuple[int, int]
    sequence: Callable[..., Any] | None


def trace(fn: Callable[..., Any], given: Sequence[Given], name: str, numbers: Mapping[str, float]) -> Traced:
    """Record ``fn``, called with a Tensor for each of ``given``, and return the recording.

    The function is recorded twice. If it depends on values of arrays, on random numbers or on the number of calls, the
    two recordings differ.

    Raises
    ------
    UnfusableError
        If the function cannot be compiled. The message is the reason. Errors of the function itself pass through.
    """
    found = []
    for fill in (0.8125, -3.5):
        token = FILL.set(fill)
        try:
            found.append(_traced_once(fn, given, name, numbers))
        finally:
            FILL.reset(token)
    first, second = found
    if _signature(first) != _signature(second):
        raise UnfusableError("the result differs from call to call, or depends on values that are read from arrays")
    return first


def _signature(traced: Traced) -> list[Any]:
    """Return a recording in a form that can be compared."""
    programs = (traced.forward, *traced.backward)
    terms = list(below(output.term for program in programs for output in program.outputs))
    place = {term: i for i, term in enumerate(terms)}
    computed = [
        (t.op, [place[a] for a in t.args], t.axes, repr(t.value) if t.op == "number" else t.value) for t in terms
    ]
    written = [[(o.name, place[o.term], o.layout) for o in program.outputs] for program in programs]
    return [computed, written, traced.outputs, traced.sizes]


def _traced_once(fn: Callable[..., Any], given: Sequence[Given], name: str, numbers: Mapping[str, float]) -> Traced:
    inputs = [_leaf(each.name, each.shape, each.dtype, each.needed) for each in given]
    with surrounding(recording=True, examined=True, origins=True, fuser=None, scope=None, order=0, differentiates=None):
        result = fn(*inputs)
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        for y in outputs:
            if not isinstance(y, Tensor) or y.dtype.kind != "f":
                raise UnfusableError("the function returns something other than floating-point Tensors")
            if y.node is None:
                raise UnfusableError("the function returns an argument or a constant unchanged")
        if not outputs:
            raise UnfusableError("the function returns nothing")
        seeds = [_leaf(f"g_{_called(y) or 'y'}", y.shape, y.dtype, True) for y in outputs]
        gradients = [
            backpropagate([(y, g)], inputs, create_graph=True) if y.requires_grad else {}
            for y, g in zip(outputs, seeds, strict=True)
        ]
    reading = _Reading(inputs, outputs, seeds, gradients, numbers)
    kept: Any = type(result) if isinstance(result, tuple | list) else None
    return reading.traced(name, getattr(kept, "_make", kept))


def _leaf(name: str, shape: tuple[int, ...], dtype: Any, needed: bool) -> Tensor:
    leaf = constant(unknown(shape, dtype), name)
    leaf._requires_grad = needed
    return leaf


class _Reading:
    """Translates recorded Tensors to terms."""

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], seeds: Sequence[Tensor],
        gradients: Sequence[Mapping[Tensor, Tensor]], numbers: Mapping[str, float],
    ) -> None:  # fmt: skip
        self.inputs, self.outputs, self.seeds, self.gradients = inputs, outputs, seeds, gradients
        self.called = {value: name for name, value in reversed([*numbers.items()])}
        self.terms, self.found, self.numbers = Terms(), dict[Tensor, Term](), dict[Term, str]()
        results = [*outputs, *(g for each in gradients for g in each.values())]
        self.order = list(reversed(walk(results)))
        if len(self.order) > _MOST_OPERATIONS:
            raise UnfusableError(f"the function has more than {_MOST_OPERATIONS} operations, forward and backward")
        self.layouts = Layouts()
        leaves = [x for y in self.order for x in y.node.inputs if isinstance(x, Tensor) and x.node is None]  # type: ignore[union-attr]
        for y in dict.fromkeys([*inputs, *seeds, *leaves, *self.order, *results]):
            self.layouts.add(y)
        pairs = [*zip(outputs, seeds, strict=True), *(pair for found in gradients for pair in found.items())]
        for x, g in pairs:
            self.layouts.equate(x, g)
        for y in self.layouts.dims:
            self.layouts.find_dependence(y)
        if any(x.dtype != outputs[0].dtype for x in (*inputs, *outputs)):
            raise UnfusableError("the arrays have several dtypes")
        reductions = [y for y in self.order if y.node.primitive.name in SUMS]  # type: ignore[union-attr]
        largest = max([*inputs, *outputs], key=lambda x: x.ndim if x.size > 1 else -1)
        whole = [*inputs, *seeds, *results]
        self.names: Names = name_loops(
            self.layouts, largest, reductions, whole, [*(_called(x) or "" for x in (*inputs, *outputs)), *numbers]
        )

    def traced(self, name: str, kept: Callable[..., Any] | None) -> Traced:
        names = {x: x.name or "x" for x in self.inputs}
        for x in self.inputs:
            self.found[x] = self.terms.input(names[x], self._layout(x))
        outputs = [Output(n, self._term(y), self._layout(y)) for n, y in _distinct(self.outputs, set(names.values()))]
        taken = {*names.values(), *(f"g_{name}" for name in names.values()), *(output.name for output in outputs)}
        known = set(self.found)
        seeds = dict(_distinct(self.seeds, taken))
        for g_name, g in seeds.items():
            self.found[g] = self.terms.input(g_name, self._layout(g))
        inputs = {names[x]: self._layout(x) for x in self.inputs}
        forward = Program(name, inputs, tuple(outputs), self.terms, self.numbers)
        backward = []
        for (g_name, g), found in zip(seeds.items(), self.gradients, strict=True):
            gradients = [
                Output(f"g_{names[x]}", self._term(found[x], of_a_rule=True), self._layout(found[x]))
                for x in self.inputs
                if found.get(x) is not None
            ]
            given = {**inputs, g_name: self._layout(g)}
            backward.append(Program(f"{name}_backward", given, tuple(gradients), self.terms, self.numbers))
        returned = tuple(
            Returned(o.name, y.shape, y.name, y.requires_grad) for o, y in zip(outputs, self.outputs, strict=True)
        )
        first = set(walk(self.gradients[0].values())) - known
        traffic = _traffic(known), _traffic(first)
        return Traced(forward, tuple(backward), returned, self.names.sizes, traffic, kept)

    def _layout(self, y: Tensor) -> tuple[str, ...]:
        return self.names.each(self.layouts.layout(y))

    def _term(self, y: Tensor, of_a_rule: bool = False) -> Term:
        """Return the term of a Tensor, after those that it is computed from."""
        for x in [*reversed(walk([y])), y]:
            if x not in self.found:
                term = self._computed(x, x.node, of_a_rule) if x.node else self._constant(x, of_a_rule)
                self.found[x] = self.terms.named(term, _called(x))
        return self.found[y]

    def _constant(self, x: Tensor, of_a_rule: bool) -> Term:
        # The arrays of rules are zeros or ones. An array of the function may differ in the next call.
        if of_a_rule and not np.ptp(x.data):
            return self.terms.number(float(x.data.flat[0]))
        raise UnfusableError(
            f"the function reads {x._label()}, which is not among its arguments; pass it as an argument"
        )

    def _operand(self, x: Any, of_a_rule: bool) -> Term:
        if isinstance(x, Tensor):
            return self.found[x] if x in self.found else self.found.setdefault(x, self._constant(x, of_a_rule))
        if np.ndim(x):
            return self._constant(constant(np.array(x)), of_a_rule)
        return self._number(float(x))

    def _number(self, value: float) -> Term:
        """Return the term of a number. Common numbers are part of the formula, others arguments of the kernel."""
        term = self.terms.number(value)
        if value not in _PLAIN_NUMBERS and term not in self.numbers and np.isfinite(value):
            self.numbers[term] = self.called.get(value, f"k{len(self.numbers) + 1}")
        return term

    def _computed(self, y: Tensor, node: Node, of_a_rule: bool) -> Term:
        name = node.primitive.name
        if name == "multiply" and (count := self._averaged(node)):
            x = next(x for x in node.inputs if isinstance(x, Tensor))
            return self.terms.apply("divide", self.found[x], count)
        operands = [self._operand(x, of_a_rule) for x in node.inputs]
        _check_operands(name, node.arrays)
        if name in ("astype", "sum") and node.arrays[0].dtype.kind == "b":
            operands[0] = self.terms.apply("where", operands[0], self.terms.number(1), self.terms.number(0))
        if name in SUMS:
            return self.terms.reduce(name, operands[0], self.names.each(self.layouts.reduced(y)))
        if name in SAME or (name == "astype" and node.arrays[0].dtype in (y.dtype, np.bool_, np.int64)):
            return operands[0]
        if name == "square" or (name == "power" and operands[1] is self.terms.number(2)):
            return self.terms.apply("multiply", operands[0], operands[0])
        if name in COMPARISONS or name == "sign":
            _check_extremes(operands)
        if name in ELEMENTWISE:
            return self.terms.apply(name, *operands)
        raise UnfusableError(f"{name} is not among the supported operations")

    def _averaged(self, node: Node) -> Term | None:
        """Return the count n if this is the multiplication by 1/n in the rule of a mean."""
        mean, share = node.differentiates, next((x for x in node.inputs if type(x) is float), None)
        if share is None or mean is None or mean.primitive.name != "mean":
            return None
        x = mean.inputs[0]
        dims = [self.layouts.dims[x][i] for i in mean.static["axis"]]
        n = int(np.prod([x.shape[i] for i in mean.static["axis"]], initial=1))
        averaged = uncut(axis for dim in dims for axis in dim)
        return self.terms.count(self.names.each(averaged)) if abs(share * n - 1) < 1e-9 else None


def _check_operands(name: str, arrays: Sequence[Any]) -> None:
    """Refuse arithmetic with conditions, and with constants that are infinite or NaN."""
    values = arrays[1:] if name == "where" else arrays
    are_compared = name in OF_BOOLEANS or name in ("equal", "not_equal")
    conditions = any(getattr(x, "dtype", None) == np.bool_ for x in values)
    if conditions and not (are_compared or name in SAME or name in ("astype", "sum")):
        raise UnfusableError(f"{name} is applied to conditions")
    if name in ("add", "subtract", "multiply", "divide", "power") and any(
        isinstance(x, float) and not np.isfinite(x) for x in values
    ):
        raise UnfusableError(f"{name} has a constant that is infinite or NaN")


def _check_extremes(compared: Sequence[Term]) -> None:
    """Refuse comparisons with an extreme of rounded values: computed again, they may differ from it by a bit."""
    exact = {"input", "number", *EXACT, *COMPARISONS, *OF_BOOLEANS}
    for term in below(compared, lambda t: t.op in ("add", "subtract", "negative")):
        if term.op in ("max", "min") and any(t.op not in exact for t in below(term.args)):
            raise UnfusableError(
                f"values are compared with the {term.op} of computed values, which may be rounded differently"
            )


_MOST_OPERATIONS = 400
_PLAIN_NUMBERS = {-2, -1, -0.5, 0, 0.5, 1, 2}

_GREEK = {"μ": "mu", "σ²": "var", "x̂": "x_hat", "x−μ": "x_centred", "mean x²": "mean_square", "γ": "gamma", "β": "beta"}


def _called(y: Tensor) -> str | None:
    """Return the name of a Tensor as a Python identifier, or None."""
    name, gradient = y.name, False
    if name is None:
        return "rstd" if y.node is not None and y.node.primitive.name == "rsqrt" else None
    if match := re.fullmatch(r"dL/d\(?(.*?)\)?", name):
        name, gradient = match[1], True
    name = _GREEK.get(name, name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"\W+", "_", plain).strip("_")
    if not plain.isidentifier() or iskeyword(plain) or plain in RESERVED:
        return None
    return f"g_{plain}" if gradient else plain


def _distinct(tensors: Sequence[Tensor], taken: set[str]) -> list[tuple[str, Tensor]]:
    """Return outputs with unique names."""
    found: dict[str, Tensor] = {}
    for y in tensors:
        name = stem = _called(y) or "y"
        number = 2
        while name in taken or name in found:
            name, number = f"{stem}{number}", number + 1
        found[name] = y
    return list(found.items())


def _traffic(tensors: Iterable[Tensor]) -> int:
    """Count the arrays of full size that operations read and write, without views."""
    computed = [y for y in tensors if y.node and y.node.primitive.name not in SAME]
    full = max((y.size for y in computed), default=0)
    operands = [x for y in computed for x in y.node.inputs if isinstance(x, Tensor)]  # type: ignore[union-attr]
    return sum(x.size == full and not _repeats(x) for x in operands) + sum(y.size == full for y in computed)


def _repeats(x: Tensor) -> bool:
    return x.node is not None and x.node.primitive.name == "broadcast_to"
