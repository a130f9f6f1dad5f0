"""Names of axes: parse ``axes`` and pass the names on through the graph, so that reductions can show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.context import Scope
from ..engine.primitive import Node
from ..engine.recording import ModuleScope
from ..engine.tensor import Tensor, walk
from .axis_rules import Names, following
from .text import in_words

Axes = str | Mapping[str, str] | Iterable[str | Mapping[str, str]]
Given = dict[int | str, Names]


def axis_names(axes: Axes | None) -> Given:
    """Return the axis names in ``axes``. The keys are ranks and names of Tensors.

    Examples
    --------
    >>> axis_names(["n c", {"scores": "n q k"}])
    {2: ('n', 'c'), 'scores': ('n', 'q', 'k')}
    """
    names: Given = {}
    several = not isinstance(axes, str | Mapping) and isinstance(axes, Iterable)
    for part in () if axes is None else axes if several else (axes,):
        for key, text in part.items() if isinstance(part, Mapping) else [("", part)]:
            if not (isinstance(key, str) and isinstance(text, str)):
                raise TypeError(
                    "axes must be a string such as 'n c h w', a dict such as {'scores': 'n q k'}, or a list of them, "
                    f"not {axes!r}"
                )
            found = tuple(text.split())
            of, what = (key, repr(key)) if key else (len(found), f"{len(found)} axes")
            if of in names:
                raise ValueError(f"axes: {' '.join(map(str, names[of]))!r} and {text!r} both name {what}")
            names[of] = found
    return names


def names_of_axes(axes: Axes | None, outputs: Sequence[Tensor], partial: bool = False) -> dict[Tensor, Names]:
    """Return the axis names of every Tensor that the outputs depend on. An axis without a name is None.

    Names given for a Tensor take precedence, then names that follow from those. An axis that is still unnamed gets the
    names given for its rank, unless these contradict a known name, and finally names that follow from those. With
    ``partial``, for instance after an error, Tensors named in ``axes`` may be missing.

    Raises
    ------
    ValueError
        If no Tensor has a name given in ``axes``, or if it has a different number of axes.
    """
    given = axis_names(axes)
    computed = walk(outputs)[::-1] if given else []
    on_the_way = (x for t in computed for x in (*_node(t).inputs, t) if isinstance(x, Tensor))
    tensors = dict.fromkeys([*on_the_way, *(outputs if given else ())])
    own, misfits = _own(given, tensors, computed)
    if misfits and not partial:
        raise ValueError(f"axes: {misfits[0]}")
    sure, likely, alike = dict[Tensor, Names](), dict[Tensor, Names](), _alike(computed)
    for t in tensors:
        unnamed: Names = (None,) * t.ndim
        follow = [_first(_derived(t, names), names.get(alike.get(t, t), unnamed)) for names in (sure, likely)]
        sure[t], by_rank = own.get(t, follow[0]), given.get(t.ndim, unnamed)
        fits = all(name in (None, other) for name, other in zip(sure[t], by_rank, strict=True))
        likely[t] = _first(sure[t], by_rank if fits else unnamed, follow[1])
    return likely


def over(axis: int | tuple[int, ...], names: Names = ()) -> str:
    """Return the names of some axes, or their numbers if the names are missing or not unique."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    met = Counter(names)
    if names and axes and all(names[i] and met[names[i]] == 1 for i in axes):
        return ", ".join(str(names[i]) for i in axes)
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes)) or 'none'}"


def counted(node: Node, result: Tensor) -> Tensor:
    """Return the Tensor that ``axis`` refers to: the first operand, or the result of a concatenation or stack."""
    x = node.inputs[0]
    return x if isinstance(x, Tensor) and node.primitive.name not in ("concatenate", "stack") else result


def _node(t: Tensor) -> Node:
    assert t.node is not None
    return t.node


def _own(given: Given, tensors: Iterable[Tensor], computed: list[Tensor]) -> tuple[dict[Tensor, Names], list[str]]:
    """Return the axis names given for Tensors by name, and error messages. Names can be paths: ``encoder.weight``."""
    uses: dict[Tensor, list[Node]] = {}
    for node in (_node(t) for t in computed if not _node(t).order):
        for x in {x for x in node.inputs if isinstance(x, Tensor)}:
            uses.setdefault(x, []).append(node)
    own, misfits, met = dict[Tensor, Names](), list[str](), dict[str, None]()
    for t in (t for t in tensors if t.name):
        scope = uses[t][0].scope if type(t) is not Tensor and len(uses.get(t, ())) == 1 else None
        called = [*([f"{_place(scope)}.{t.name}"] if scope else []), str(t.name)]
        met |= dict.fromkeys(called)
        for names in (given[name] for name in called if name in given):
            if len(names) == t.ndim:
                own.setdefault(t, names)
                continue
            shape = f"{called[0]!r} has {t.ndim} axes (shape {in_words(t.shape)})"
            misfits.append(f"{shape}, but {' '.join(map(str, names))!r} names {len(names)}")
    there = ", ".join(map(repr, met)) or "none"
    missing = (name for name in given if isinstance(name, str) and name not in met)
    return own, misfits + [f"no Tensor is named {name!r}; the names are: {there}" for name in missing]


def _place(scope: Scope) -> str:
    """Return the path of a scope's module, or else the names of the enclosing scopes."""
    modules = (s.place for s in reversed(scope.path) if isinstance(s, ModuleScope) and s.place)
    return next(modules, ".".join(s.name for s in scope.path))


def _alike(computed: list[Tensor]) -> dict[Tensor, Tensor]:
    """Return, for Tensors of a gradient, the Tensor with the same axes: ``x`` for ``dL/dx``."""
    made = {_node(t): t for t in computed}
    ends: dict[Any, Tensor] = {}
    alike: dict[Tensor, Tensor] = {}
    for t in computed:
        node, source = _node(t), _node(t).differentiates
        if source is not None and node.operand is not None:
            # The last Tensor of a rule is the gradient of its operand.
            ends[source, node.operand, node.order] = t
        for x in node.inputs if source in made else ():
            # A leaf here is the cotangent. Leaves of the forward operation already have their names.
            if isinstance(x, Tensor) and x.node is None and x.shape == made[source].shape:
                alike[x] = made[source]
    return alike | {t: source.inputs[operand] for (source, operand, _), t in ends.items()}


def _derived(t: Tensor, names: Mapping[Tensor, Names]) -> Names:
    """Return the axis names that follow from those of the operands."""
    if t.node is None:
        return (None,) * t.ndim
    operands = [names[x] if isinstance(x, Tensor) else (None,) * np.ndim(x) for x in t.node.inputs]
    return following(t.node, operands, t.shape)


def _first(*several: Names) -> Names:
    """Return the first name found for each axis."""
    return tuple(next(filter(None, names), None) for names in zip(*several, strict=True))
