"""One run of a function and its gradient, edge by edge, with all numbers that a page shows first.

Reshapes, broadcasts, transposes, casts and the ε that a norm adds are folded into edges. A contribution is shown as the
rule computes it, and as it arrives, summed over the axes that were repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...engine.autodiff import grad
from ...engine.context import Scope
from ...engine.operators import Array
from ...engine.origins import examine
from ...engine.primitive import Node
from ...engine.recording import Step
from ...engine.tensor import Tensor, backpropagate, walk
from ..axes import Axes, names_of_axes
from ..formulas import Formula
from .lines import Call, Lines
from .links import BOOKKEEPING, Edge, Link, epsilon_of, node_of, operands_of
from .wording import Wording

MOST_ARRAYS = 400
"""The largest number of arrays. Pages and layouts grow with its square, and more are too many to step through."""


class Recording(Wording):
    """A run of a function on named inputs, with the gradient of ``<cotangent, y>`` through every edge.

    Attributes
    ----------
    leaves : dict from name to Tensor
    y : Tensor
    cotangent : ndarray
    tensors : list of Tensors
        The Tensors that are shown, in topological order. `place` maps them to their positions.
    links : list of Links
        The edges between them, in the order in which contributions arrive.
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
                raise ValueError(f"explore needs non-empty inputs: {name} has shape {leaf.shape}")
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
        self._results_of_steps = _results_of_steps(self._computed)
        self.tensors = self._shown()
        if len(self.tensors) > MOST_ARRAYS:
            count = f"{len(self.tensors)} arrays, but explore shows at most {MOST_ARRAYS}"
            raise ValueError(f"the function computes {count}: explore a smaller part of it")
        self.place = {t: i for i, t in enumerate(self.tensors)}
        self.links = self._links()
        self.data: dict[str, Array] = {}
        self._formulas: dict[Tensor, Formula] = {}
        self._names: dict[Tensor, Formula] = {}
        self._give_names(self.tensors)
        wanted = [t for t in self.tensors if t.requires_grad]
        self.gradients = {t: g.data for t, g in zip(wanted, grad(self.y, wanted, self.cotangent), strict=True)}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """Run the function on other inputs, examined again."""
        return examine(self._fn, *_leaves(inputs).values())

    def calls(self, t: Tensor) -> tuple[Call, ...]:
        """Return the calls in which a Tensor was computed, outermost first."""
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
        """Run the backward pass, and return every edge in the order of arrival. Edges without gradient are last."""
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
        """Return the position of a Tensor, or of the target of the edge that it is folded into, or None."""
        folded = (self.place[link.target] for link in self.links if any(x is t for x in link.chain))
        return self.place[t] if t in self.place else next(folded, None)

    def paths(self, leaf: Tensor, most: int = 16) -> list[list[Link]]:
        """Return every path from y to a leaf, or nothing if there are more than ``most``."""
        into: dict[Tensor, list[Link]] = {}
        for link in self.links:
            if link.before is not None:
                into.setdefault(link.target, []).append(link)
        # Paths are counted first, since there can be exponentially many.
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


def _results_of_steps(computed: Sequence[Tensor]) -> dict[Tensor, str]:
    """Return the results of named steps, such as softmax, with the names of the steps."""
    around = {
        t: [scope for scope in node_of(t).scope.path if isinstance(scope, Step)] for t in computed if node_of(t).scope
    }
    inside: dict[Tensor, list[Scope]] = {}
    for t in computed:
        for x in operands_of(t):
            inside.setdefault(x, []).extend(around.get(t, ()))
    left = {t: [step for step in steps if step not in inside.get(t, ())] for t, steps in around.items()}
    return {t: steps[0].name for t, steps in left.items() if steps}


def _leaves(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(x, True, np.float64, name) for name, x in inputs.items()}


def _unsuitable(y: Any, leaves: Mapping[str, Tensor]) -> str:
    """Return the reason why a function's result cannot be explored, or ""."""
    if isinstance(y, tuple | list):
        return f"it returned a {type(y).__name__} of {len(y)}; choose one of them, as in lambda x: f(x)[0]"
    if not isinstance(y, Tensor):
        return f"it returned {type(y).__name__}"
    for name, leaf in leaves.items():
        if y is leaf:
            return f"it returned {name} itself, so there is nothing to step through"
    if not y.requires_grad:
        return "its result was not recorded; does it detach, or compute with .data?"
    return f"it returned an empty array of shape {y.shape}" if y.size == 0 else ""


def _cotangent(y: Tensor, given: Array | None) -> Array:
    if given is None:
        # An unusual seed, so that the cotangent differs from random data: if it equals x, dL/dx can be zero.
        return np.random.default_rng(1502_03167).normal(size=y.shape).round(2)
    found: Array = np.asarray(given, np.float64)
    if found.shape != y.shape:
        raise ValueError(f"the cotangent has shape {found.shape}, but the output has shape {y.shape}")
    return found
