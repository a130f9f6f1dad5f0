"""One run of a function with its gradient, edge by edge: everything that a page shows was computed here, by the engine.

Reshapes, broadcasts, transposes, casts and the ε that a norm adds are folded into the edges they stand on: a
contribution is shown as the rule makes it, and as it arrives, summed over the axes that were repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from ...check.scales import step_scale
from ...engine.autodiff import grad
from ...engine.operators import Array
from ...engine.origins import examine
from ...engine.primitive import Node
from ...engine.tensor import Tensor, backpropagate, walk
from .. import formulas
from ..axes import Axes, counted, names_of_axes, over
from ..expressions import BROADCASTING, OPEN_BOUNDS, Expression, Operand, expression, name_of_data
from ..formulas import Formula

_BOOKKEEPING = ("reshape", "broadcast_to", "transpose", "astype", "finite")
_UNDONE = {"reshape": "reshaped back", "transpose": "transposed back", "astype": "cast back"}
_EPSILON = formulas.name("ε")
LARGEST_EPSILON = 1e-2
"""A positive constant that is added, and no larger than this, is called ε."""
LONGEST = 18
"""An array without a name is called by its formula, if it is no longer than this, or else by its operation."""
_OVER = {"sum": "Σ", "mean": "mean", "max": "max", "min": "min", "prod": "Π"}
_RESULTS = {"add": "sum", "subtract": "difference", "multiply": "product", "divide": "quotient", "matmul": "product"}
MOST_CELLS = 64
"""Arrays with more elements are not examined cell by cell: neither what they depend on nor by differences."""
MOST_WORK = 400_000
"""Nor is a graph with more cells times arrays than that: it would take longer than some seconds."""
MOST_ARRAYS = 400
"""Graphs with more of them are refused: nobody steps through them, and pages and layouts grow with their square."""

Edge = tuple[Node, int]
"""An operation, and which of its operands."""


@dataclass(frozen=True)
class Link:
    """One operand of an operation, with the bookkeeping between it and what it was made from.

    Attributes
    ----------
    source, target : Tensor
    operand : int
        Its position among the target's operands.
    chain : tuple of Tensors
        The folded ones, from the target to the source.
    before, after : ndarray or None
        The contribution as the target's rule makes it, and as it arrives at the source; None where no gradient goes.
    """

    source: Tensor
    target: Tensor
    operand: int
    chain: tuple[Tensor, ...]
    before: Array | None
    after: Array | None

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """Where the contribution is made, and where it arrives at the source: operations and their operands."""
        before = _node(self.target), self.operand
        return before, (_node(self.chain[-1]), passed(self.chain[-1])) if self.chain else before


class Recording:
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
    epsilon : float or None
        The small constant that is called ε: the first that is added.
    data : dict from name to ndarray
        Arrays that operations compute with, as indices and masks.
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
        self.y = examine(fn, *self.leaves.values())
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
        for t in self.tensors:
            # In this order, what a formula is made of has its name already.
            if t.node is not None:
                self._formulas[t] = self._formula(t)
            self._names[t] = self._name(t)
        wanted = [t for t in self.tensors if t.requires_grad]
        self.gradients = {t: g.data for t, g in zip(wanted, grad(self.y, wanted, self.cotangent), strict=True)}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Return what the function makes of other inputs, examined as it was."""
        return examine(self._fn, *_leaves(inputs).values())

    # --- the graph

    def _bookkeeping(self) -> set[Tensor]:
        users: dict[Tensor, int] = {}
        for t in self._computed:
            for x in _operands(t):
                users[x] = users.get(x, 0) + 1
        unnamed = [t for t in self._computed if t.name is None and users.get(t) == 1]
        return {t for t in unnamed if _node(t).primitive.name in _BOOKKEEPING or self._adds_epsilon(t)}

    def _shown(self) -> list[Tensor]:
        used = {x for t in self._computed for x in _operands(t)}
        shown: dict[Tensor, None] = dict.fromkeys(x for x in self.leaves.values() if x not in used)
        for t in self._computed:
            if t not in self._folded:
                shown |= dict.fromkeys(map(self._source, _operands(t)))
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

    def _chain(self, x: Tensor) -> list[Tensor]:
        """Return the folded Tensors from an operand on towards its source."""
        chain: list[Tensor] = []
        while x in self._folded:
            chain.append(x)
            (x,) = _operands(x)
        return chain

    def _source(self, x: Tensor) -> Tensor:
        """Return what an operand was before it was folded."""
        chain = self._chain(x)
        return _operands(chain[-1])[0] if chain else x

    def at(self, t: Tensor) -> int | None:
        """Return the place of a Tensor, or of the one whose edge it was folded into; None for any other."""
        folded = (self.place[link.target] for link in self.links if any(x is t for x in link.chain))
        return self.place[t] if t in self.place else next(folded, None)

    # --- words

    def over(self, axis: int | tuple[int, ...], t: Tensor) -> str:
        """Return the names of some axes of a Tensor, or their numbers."""
        return over(axis, self.axis_names.get(t, ()))

    def called(self, t: Tensor) -> Formula:
        """Return the name of a Tensor, or a short formula of named ones."""
        return self._names[t]

    def computed_by(self, t: Tensor) -> Formula:
        """Return the formula of the operation that made a Tensor."""
        return self._formulas[t]

    def alias(self, t: Tensor) -> str:
        """Return a name that does not tell how a Tensor was computed."""
        return f"t{self.place[t]}"

    def _name(self, t: Tensor) -> Formula:
        if t.name or (t.node is None and t.size > 1):
            return formulas.name(self._distinct(t.name or name_of_data(t.dtype)))
        if t.node is None:
            return formulas.number(t.item())
        if self._is_inverse_root(t):
            return formulas.name(self._distinct("r"))
        found = self._formulas[t]
        longest = formulas.LONGEST if t.dtype.kind == "b" else LONGEST
        return found if len(found.text) <= longest else formulas.name(self._distinct(self._result(t)))

    def _is_inverse_root(self, t: Tensor) -> bool:
        """Whether it is ``1/√(σ² + ε)``, which is called r."""
        (x,) = _operands(t) if _node(t).primitive.name == "rsqrt" else (None,)
        return x is not None and x.node is not None and self._adds_epsilon(x)

    def _adds_epsilon(self, t: Tensor) -> bool:
        return self.epsilon is not None and epsilon_of(t) == self.epsilon

    def _result(self, t: Tensor) -> str:
        """Return what an operation gives, in a word or two: ``max over k``, ``product``."""
        node = _node(t)
        kind = node.primitive.name
        if kind in _OVER:
            return f"{_OVER[kind]} over {self.over(node.static['axis'], counted(node, t))}"
        return _RESULTS.get(kind, kind)

    def _data_name(self, x: Array) -> str:
        """Return what an array is called that operations compute with, as an index."""
        known = next((name for name, array in self.data.items() if array is x), None)
        name = known or self._distinct(name_of_data(x.dtype))
        self.data[name] = x
        return name

    def _distinct(self, name: str) -> str:
        """Return the name, with a number if another array has it already."""
        taken = {*self.data, *(found.text for found in self._names.values())}
        numbered = (f"{name} ({i})" for i in count(2))
        return name if name not in taken else next(text for text in numbered if text not in taken)

    def _formula(self, t: Tensor) -> Formula:
        return self._computed_from(t, self._operand)

    def _computed_from(self, t: Tensor, called: Callable[[Any, bool], Formula]) -> Formula:
        """Return the formula of a Tensor, given what each operand is called, by whether it is broadcast anyway."""
        node = _node(t)
        found, arriving = expression(node, t.shape, lambda axis: self.over(axis, counted(node, t)))
        if self._adds_epsilon(t):
            found = _with_epsilon(found, len(arriving))
            arriving = [*arriving, None]
        return found.formula(
            lambda position: (
                _EPSILON if arriving[position] is None else called(arriving[position], found.kind in BROADCASTING)
            )
        )

    def _computed_of(self, operand: Formula, t: Tensor) -> Formula:
        """Return the formula of a Tensor that was computed from one other, which is called so."""
        return self._computed_from(t, lambda *_: operand)

    def _operand(self, x: Any, broadcast: bool = False) -> Formula:
        """Return what an operand is called, with what was folded away: ``Wᵀ``, ``reshape(x, 8×3)``."""
        if not isinstance(x, Tensor):
            return formulas.name(self._data_name(x)) if np.ndim(x) else formulas.number(x)
        found = self.called(self._source(x))
        for t in reversed(self._chain(x)):
            if not (broadcast and _goes_without_saying(t)):
                found = self._computed_of(found, t)
        return found

    def _inputs(self, node: Node) -> dict[str, Formula]:
        """Return what each input of an operation is called, by the letters that rules use."""
        letters = node.primitive.operands or tuple(map(str, range(len(node.inputs))))
        return {
            letter: self._operand(OPEN_BOUNDS[letter] if x is None else x, True)
            for letter, x in zip(letters, node.inputs, strict=False)
        }

    def rule(self, link: Link) -> Formula:
        """Return the local derivative of a link: what its target's rule computes."""
        texts = _node(link.target).primitive.formulas
        return formulas.rule(texts[min(link.operand, len(texts) - 1)], self._letters(link))

    def _letters(self, link: Link) -> dict[str, Formula]:
        """Return what the letters of a link's rule stand for."""
        node, target = _node(link.target), self.called(link.target)
        names = {"g": formulas.slope(target), "y": target, **self._inputs(node)}
        if node.primitive.name == "mean":
            names["n"] = formulas.number(node.arrays[0].size // max(link.target.size, 1))
        return names

    def factor(self, link: Link) -> Formula:
        """Return what a link's rule multiplies the cotangent by: the rule without the cotangent."""
        texts = _node(link.target).primitive.formulas
        return formulas.factor(texts[min(link.operand, len(texts) - 1)], self._letters(link))

    def operands(self, t: Tensor) -> list[Formula]:
        """Return what the operands of a Tensor are called."""
        return [self._operand(x, True) for x in _node(t).inputs if x is not None]

    def summed_over(self, link: Link) -> str:
        """Return the names of the axes along which a link's source was repeated, or nothing."""
        found = [self._repeated_over(t, link) for t in link.chain if _node(t).primitive.name == "broadcast_to"]
        return ", ".join(found)

    def _repeated_over(self, t: Tensor, link: Link) -> str:
        (x,) = _operands(t)
        # What meets it there says how its new axes are called.
        meets = t is link.chain[0] and _node(link.target).primitive.name in BROADCASTING
        return self.over(_repeated(x.shape, t.shape), link.target if meets else t)

    def arriving(self, link: Link) -> str:
        """Say what bookkeeping does to a contribution on its way: ``"summed over n, along which γ was repeated"``."""
        words = []
        for t in link.chain:
            if _node(t).primitive.name == "broadcast_to":
                over = self._repeated_over(t, link)
                words.append(f"summed over {over}, along which {self.called(link.source).text} was repeated")
            elif _node(t).primitive.name in _UNDONE:
                words.append(_UNDONE[_node(t).primitive.name])
        return "; ".join(words)

    # --- numbers that judge the gradient

    def along(self, path: Sequence[Link]) -> Array:
        """Carry the cotangent along one path only, by the rules of its edges."""
        g: Any = self.cotangent
        for link in path:
            for t, operand in [(link.target, link.operand), *((t, passed(t)) for t in link.chain)]:
                node = _node(t)
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
            node = _node(t)
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


def _node(t: Tensor) -> Node:
    assert t.node is not None
    return t.node


def epsilon_of(t: Tensor) -> float | None:
    """Return the small positive constant that an operation adds to one Tensor, or None."""
    node = _node(t)
    numbers = [x for x in node.inputs if not isinstance(x, Tensor) and np.ndim(x) == 0]
    if node.primitive.name != "add" or len(numbers) != 1:
        return None
    return float(numbers[0]) if 0 < numbers[0] <= LARGEST_EPSILON else None


def _with_epsilon(found: Expression, place: int) -> Expression:
    """Return a sum with an operand of that position where its constant stands."""
    parts = (x if isinstance(x, Operand | Expression) else Operand(place) for x in found.operands)
    return replace(found, operands=tuple(parts))


def _goes_without_saying(t: Tensor) -> bool:
    """Whether it repeats its operand, gives it axes of size 1 or casts it: beside what it meets that is clear."""
    (x,) = _operands(t)
    kept = [[size for size in each.shape if size > 1] for each in (x, t)]
    return _node(t).primitive.name in ("broadcast_to", "astype", "finite") or (
        _node(t).primitive.name == "reshape" and kept[0] == kept[1]
    )


def passed(t: Tensor) -> int:
    """Return the position of the only Tensor among the operands of what is folded."""
    return next(i for i, x in enumerate(_node(t).inputs) if isinstance(x, Tensor))


def _operands(t: Tensor) -> list[Tensor]:
    return [x for x in _node(t).inputs if isinstance(x, Tensor)]


def _repeated(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of the new shape along which an array of the old one was repeated."""
    lead = len(new) - len(old)
    return tuple(i for i, size in enumerate(new) if i < lead or old[i - lead] != size)
