"""One run of a function with its gradient, edge by edge: everything that a page shows was computed here, by the engine.

Reshapes, broadcasts, transposes, casts and the ε that a norm adds are folded into the edges they stand on: a
contribution is shown as the rule makes it, and as it arrives, summed over the axes that were repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...check.scales import step_scale
from ...engine.autodiff import grad
from ...engine.operators import Array
from ...engine.origins import examine
from ...engine.primitive import Node
from ...engine.tensor import Tensor, backpropagate, walk
from ..axes import Axes, names_of_axes
from ..formulas import Formula
from .lines import Call, Lines
from .links import BOOKKEEPING, Edge, Link, epsilon_of, node_of, operands_of, passed
from .wording import Wording

MOST_CELLS = 64
"""Arrays with more elements are not examined cell by cell: neither what they depend on nor by differences."""
MOST_WORK = 400_000
"""Nor is a graph with more cells times arrays than that: it would take longer than some seconds."""
MOST_ARRAYS = 400
"""Graphs with more of them are refused: nobody steps through them, and pages and layouts grow with their square."""


class Recording(Wording):
    """A function run on named inputs, and ``<cotangent, y>`` differentiated back through every edge.

    Attributes
    ----------
    leaves : dict from name to Tensor
    y : Tensor
    cotangent : ndarray
    tensors : list of Tensors
        What is shown, in topological order; `place` says where each stands.
    links : list of Links
        Between them, in the order in which contributions arrive.
    gradients : dict from Tensor to ndarray
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        inputs: Mapping[str, Any],
        cotangent: Array | None = None,
        axes: Axes | None = None,
    ) -> None:
        self.leaves = _leaves(inputs)
        for name, leaf in self.leaves.items():
            if leaf.size == 0:
                raise ValueError(f"explore has no numbers to show: {name} has shape {leaf.shape}")
        lines = Lines()
        self.y = examine(fn, *self.leaves.values(), trail=lines)
        self._calls = lines.calls
        self._fn = fn
        if reason := _unsuitable(self.y, self.leaves):
            raise ValueError(f"explore needs a function that computes a Tensor from its inputs: {reason}")
        self._computed = list(reversed(walk([self.y])))
        if not self.y.name:
            taken = {t.name for t in (*self._computed, *self.leaves.values())}
            self.y.name = "y" if "y" not in taken else "output"
        self.axis_names = names_of_axes(axes, [self.y, *self.leaves.values()])
        self.cotangent = _cotangent(self.y, cotangent)
        self.epsilon = next((value for t in self._computed if (value := epsilon_of(t))), None)
        self._folded = self._bookkeeping()
        self.tensors = self._shown()
        if len(self.tensors) > MOST_ARRAYS:
            count = f"{len(self.tensors)} arrays, and explore shows at most {MOST_ARRAYS}"
            raise ValueError(f"the function computes {count}: explore a smaller step of it")
        self.place = {t: i for i, t in enumerate(self.tensors)}
        self.links = self._links()
        self.data: dict[str, Array] = {}
        self._formulas: dict[Tensor, Formula] = {}
        self._names: dict[Tensor, Formula] = {}
        self._give_names(self.tensors)
        wanted = [t for t in self.tensors if t.requires_grad]
        self.gradients = {t: g.data for t, g in zip(wanted, grad(self.y, wanted, self.cotangent), strict=True)}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Return what the function makes of other inputs, examined as it was."""
        return examine(self._fn, *_leaves(inputs).values())

    def calls(self, t: Tensor) -> tuple[Call, ...]:
        """Return the calls in which a Tensor was made, the outermost first."""
        return self._calls.get(t.node.serial, ()) if t.node else ()

    # --- the graph

    def _bookkeeping(self) -> set[Tensor]:
        users: dict[Tensor, int] = {}
        for t in self._computed:
            for x in operands_of(t):
                users[x] = users.get(x, 0) + 1
        unnamed = [t for t in self._computed if t.name is None and users.get(t) == 1]
        return {t for t in unnamed if node_of(t).primitive.name in BOOKKEEPING or self._adds_epsilon(t)}

    def _shown(self) -> list[Tensor]:
        used = {x for t in self._computed for x in operands_of(t)}
        shown: dict[Tensor, None] = dict.fromkeys(x for x in self.leaves.values() if x not in used)
        for t in self._computed:
            if t not in self._folded:
                shown |= dict.fromkeys(map(self._source, operands_of(t)))
                shown[t] = None
        return list(shown)

    def _links(self) -> list[Link]:
        """Run the backward pass once, watching, and return every edge in the order of arrival; those without last."""
        contributions: dict[Edge, Array] = {}

        def visit(node: Node, operand: int, contribution: Any) -> None:
            contributions[node, operand] = np.array(contribution)

        backpropagate([(self.y, self.cotangent)], visit=visit)
        arrival = {edge: i for i, edge in enumerate(contributions)}
        links = []
        for t in self.tensors:
            for operand, source in enumerate(t.node.inputs if t.node else ()):
                if not isinstance(source, Tensor):
                    continue
                link = Link(self._source(source), t, operand, tuple(self._chain(source)), None, None)
                first, last = link.edges
                link = replace(link, before=contributions.get(first), after=contributions.get(last))
                links.append((arrival.get(last, len(arrival)), link))
        return [link for _, link in sorted(links, key=lambda pair: pair[0])]

    def at(self, t: Tensor) -> int | None:
        """Return the place of a Tensor, or of the one whose edge it was folded into; None for any other."""
        folded = (self.place[link.target] for link in self.links if any(x is t for x in link.chain))
        return self.place[t] if t in self.place else next(folded, None)

    # --- numbers that judge the gradient

    def along(self, path: Sequence[Link]) -> Array:
        """Carry the cotangent along one path only, by the rules of its edges."""
        g: Any = self.cotangent
        for link in path:
            for t, operand in [(link.target, link.operand), *((t, passed(t)) for t in link.chain)]:
                node = node_of(t)
                with np.errstate(all="ignore"):
                    g = node.primitive.rules[operand](g, t.data, *node.arrays, **node.static)
        return np.array(g)

    def paths(self, leaf: Tensor, most: int = 16) -> list[list[Link]]:
        """Return every path from y to a leaf, or nothing if there are more than ``most``."""
        into: dict[Tensor, list[Link]] = {}
        for link in self.links:
            if link.before is not None:
                into.setdefault(link.target, []).append(link)
        # Counted before they are followed: there can be more of them than anyone could follow.
        ways = {leaf: 1}
        for t in self.tensors:
            ways.setdefault(t, sum(ways[link.source] for link in into.get(t, ())))
        found: list[list[Link]] = []
        pending: list[list[Link]] = [[]] if ways[self.y] <= most else []
        while pending:
            path = pending.pop()
            end = path[-1].source if path else self.y
            if end is leaf:
                found.append(path)
            pending += [[*path, link] for link in reversed(into.get(end, [])) if ways[link.source]]
        return found

    @property
    def is_examined(self) -> bool:
        """Whether it is small enough to be examined cell by cell."""
        cells = sum(t.size for t in self.tensors if t.size <= MOST_CELLS)
        return cells * len(self.tensors) <= MOST_WORK

    def by_differences(self, t: Tensor) -> tuple[Array, Array]:
        """Return the gradient at one Tensor by central differences, and how uncertain they are.

        It is moved, by shares of its spread, and what follows is computed anew. Two steps are extrapolated; uncertain
        is what that changes, half the angle of a kink if there is one here, and rounding.
        """
        found, uncertain = np.empty(t.shape), np.empty(t.shape)
        here, size = self._value_with(t, t.data), float(np.abs(self.cotangent * self.y.data).sum())
        precision = max(np.finfo(u.dtype).eps for u in (t, *self._computed) if u.dtype.kind == "f")
        # The best step for an error of the order step⁴.
        step = precision**0.2 * step_scale(t.data)

        def sides(place: tuple[int, ...], step: float) -> tuple[float, float]:
            slopes = []
            for distance in (step, -step):
                moved = t.numpy()
                moved[place] += distance
                slopes.append((self._value_with(t, moved) - here) / distance)
            return slopes[0], slopes[1]

        for place in np.ndindex(*t.shape):
            wide, narrow = sides(place, step), sides(place, step / 2)
            slope = (2 * sum(narrow) - sum(wide) / 2) / 3
            # The sides of a smooth function come together in proportion to the step.
            kink = abs(2 * (narrow[0] - narrow[1]) - (wide[0] - wide[1])) / 2
            rounding = 8 * precision * (size + abs(slope * t.data[place])) / step
            found[place], uncertain[place] = slope, abs(slope - sum(narrow) / 2) + kink + rounding
        return found, uncertain

    def _value_with(self, changed: Tensor, value: Array) -> float:
        values: dict[Tensor, Any] = {changed: value}
        for t in self._computed:
            node = node_of(t)
            moved = [isinstance(x, Tensor) and x in values for x in node.inputs]
            if t not in values and any(moved):
                arrays = [values[x] if m else a for x, a, m in zip(node.inputs, node.arrays, moved, strict=True)]
                with np.errstate(all="ignore"):
                    values[t] = node.primitive.forward(*arrays, **node.static)
        return float(np.sum(self.cotangent * values.get(self.y, self.y.data)))

    def depends(self, leaf: Tensor) -> dict[Tensor, tuple[Array, Array]]:
        """Return, for each Tensor shown, which cells of a leaf each of its cells, and of its gradient, depends on.

        Boolean arrays of shape (size, leaf.size), by exact derivatives: of the value, and of the recorded gradient. A
        derivative can be zero by chance, as that of a square at zero: what shows beside this point counts too.
        """
        beside = np.random.default_rng(7).normal(size=leaf.shape) * 1e-2 * step_scale(leaf.data)
        (name,) = (name for name, t in self.leaves.items() if t is leaf)
        moved = {key: t.data + beside if t is leaf else t.data for key, t in self.leaves.items()}
        with np.errstate(all="ignore"):
            other = Recording(self._fn, moved, self.cotangent)
        here, there = self._depends(leaf), other._depends(other.leaves[name])
        if [t.shape for t in self.tensors] != [t.shape for t in other.tensors]:
            return here
        pairs = zip(here.items(), there.values(), strict=True)
        return {t: (value | values, slope | slopes) for (t, (value, slope)), (values, slopes) in pairs}

    def _depends(self, leaf: Tensor) -> dict[Tensor, tuple[Array, Array]]:
        shown = [t for t in self.tensors if t.size <= MOST_CELLS]
        wanted = [t for t in shown if t.requires_grad]
        recorded = grad(self.y, wanted, self.cotangent, create_graph=True)
        slopes = dict(zip(wanted, recorded, strict=True))
        return {t: (_dependence(t, leaf), _dependence(slopes.get(t), leaf, t.size)) for t in shown}


def _dependence(t: Tensor | None, leaf: Tensor, size: int = 0) -> Array:
    if t is leaf:
        return np.eye(leaf.size, dtype=bool)
    if t is None or t.node is None:
        return np.zeros((size if t is None else t.size, leaf.size), bool)
    rows = np.empty((t.size, leaf.size))
    for i in range(t.size):
        one = np.zeros(t.size)
        one[i] = 1
        rows[i] = grad(t, leaf, one.reshape(t.shape)).data.ravel()
    # What cancels leaves rounding errors: a dependence is one that is not small beside the largest.
    depends: Array = np.abs(rows) > 1e-12 * np.abs(rows).max(initial=0.0)
    return depends


def _leaves(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(x, True, np.float64, name) for name, x in inputs.items()}


def _unsuitable(y: Any, leaves: Mapping[str, Tensor]) -> str:
    """Say why what a function returned cannot be explored, or nothing."""
    if isinstance(y, tuple | list):
        return f"it returned a {type(y).__name__} of {len(y)}; choose one of them, as in lambda x: f(x)[0]"
    if not isinstance(y, Tensor):
        return f"it returned {type(y).__name__}"
    for name, leaf in leaves.items():
        if y is leaf:
            return f"it returned {name} itself, so there is nothing to step through"
    if not y.requires_grad:
        return "what it returned was not recorded; does it detach, or compute with .data?"
    return f"it returned an array of shape {y.shape}, without numbers to show" if y.size == 0 else ""


def _cotangent(y: Tensor, given: Array | None) -> Array:
    if given is None:
        # Not a seed that data are likely to come from: a cotangent like x would have a gradient of zero.
        return np.random.default_rng(1502_03167).normal(size=y.shape).round(2)
    found: Array = np.asarray(given, np.float64)
    if found.shape != y.shape:
        raise ValueError(f"the cotangent has shape {found.shape} where the output has {y.shape}")
    return found
