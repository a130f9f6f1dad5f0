"""Inputs taken apart into arrays and put together again, with their gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..engine.operators import Array, plain
from .subject import Unfit, gradients_for

Part = TypeVar("Part")


@dataclass(frozen=True)
class Slot:
    """The index of an array among the leaves. ``number`` is true if it was given as a Python or NumPy number."""

    index: int
    number: bool


class Leaves:
    """Inputs taken apart.

    Attributes
    ----------
    arrays, names : list
        The leaves: numeric arrays, and floats as 0-d arrays. Integers and all other values are not leaves.
    floats : list of int
        The leaves that have a gradient.
    arguments, parts : list
        The name of each argument, and its structure with a `Slot` for each leaf.
    own : dict
        A `Slot` for each parameter of a layer, by name. Parameters come first among the leaves.
    """

    def __init__(self, arguments: Sequence[str], values: Sequence[Any], own: Mapping[str, Array] | None = None) -> None:
        self.arrays: list[Array] = []
        self.names: list[str] = []
        self.arguments = list(arguments)
        self.own = {name: self._apart(array, name) for name, array in (own or {}).items()}
        self.parts = [self._apart(value, name) for name, value in zip(arguments, values, strict=True)]
        self.floats = [i for i, x in enumerate(self.arrays) if x.dtype.kind in "fc"]
        self.numbers = {slot.index for slot in parts(self.parts, Slot) if slot.number}

    def _apart(self, value: Any, name: str) -> Any:
        value = plain(value)
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()  # a PyTorch tensor
        if isinstance(value, list) and value and is_numbers(value):
            value = np.array(value)
        if isinstance(value, dict | list | tuple):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            return _alike(value, [self._apart(part, f"{name}[{key!r}]") for key, part in pairs])
        number = isinstance(value, float | np.floating)
        if not number and not (isinstance(value, np.ndarray) and value.dtype.kind in "fiubc"):
            return value
        self.arrays.append(np.asarray(value))
        self.names.append(name)
        return Slot(len(self.arrays) - 1, number)

    def together(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments with other arrays in the leaves. All else is copied, so that no call changes it."""
        return tuple(_together(part, arrays) for part in self.parts)

    def parameters(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """Return the parameters of a layer from the arrays."""
        return {name: arrays[slot.index] for name, slot in self.own.items()}

    def chosen(self, wrt: Any) -> tuple[int, ...]:
        """Return the leaves that ``wrt`` names: by position or name of an argument, or by name or key of a leaf."""
        if wrt is None:
            if not self.floats:
                raise ValueError("nothing to check: no input is floating-point, and integers have no gradient")
            return tuple(self.floats)
        found: list[int] = []
        for one in [wrt] if isinstance(wrt, int | str) else wrt:
            leaves = [i for i in self._named(one) if i in self.floats]
            if not leaves:
                names = ", ".join(dict.fromkeys([*self.own, *self.arguments]))
                raise ValueError(
                    f"wrt must name inputs by position or name ({names}), not {one!r}, which has no gradient"
                )
            found += leaves
        if not found:
            raise ValueError("wrt names no input, so nothing would be checked")
        return tuple(dict.fromkeys(found))

    def _named(self, one: Any) -> list[int]:
        if isinstance(one, str) and one in self.arguments:
            one = self.arguments.index(one)
        if isinstance(one, int) and not isinstance(one, bool):
            return [slot.index for slot in parts(self.parts[one], Slot)] if 0 <= one < len(self.parts) else []
        return [i for i, name in enumerate(self.names) if one == name or name.endswith(f"[{one!r}]")]

    def optional(self, wrt: Any) -> tuple[int, ...]:
        """Return the leaves that are numbers, unless ``wrt`` asks for their gradients."""
        return () if wrt is not None else tuple(sorted(self.numbers))

    def gradients(self, returned: Any, wrt: Any = None, own: Mapping[str, Any] | None = None) -> list[Any]:
        """Return a gradient or None for each leaf, from what a backward pass returned or stored on a layer."""
        returned, found = plain(returned), dict[int, Any]()
        if isinstance(returned, dict):
            self._by_name(returned, found)
        elif self.parts:
            self._in_order(returned, wrt, found)
        found |= {slot.index: of_key(own or {}, name) for name, slot in self.own.items()}
        left_out = [i for i in self.chosen(wrt) if found.get(i) is None]
        # Gradients of numbers may be left out, unless there are no others.
        optional = self.optional(wrt) if len(left_out) < len(self.chosen(wrt)) else ()
        missing = [self.names[i] for i in left_out if i not in optional]
        if missing:
            what = f"only {', '.join(map(str, returned))}, nothing" if isinstance(returned, dict) else "None"
            raise Unfit(f"the backward pass returns {what} for {', '.join(missing)} (wrt= chooses the inputs to check)")
        return [found.get(i) if i in self.floats else None for i in range(len(self.arrays))]

    def _by_name(self, returned: Mapping[Any, Any], found: dict[int, Any]) -> None:
        for name, part in zip(self.arguments, self.parts, strict=True):
            value = of_key(returned, name)
            # The gradients of a dict of parameters may be returned as they are.
            _align(part, returned if value is None and isinstance(part, dict) else value, found, name)

    def _in_order(self, returned: Any, wrt: Any, found: dict[int, Any]) -> None:
        """Assign gradients to all arguments, those with float arrays, those with any floats, or those of ``wrt``."""
        indices = [[slot.index for slot in parts(part, Slot)] for part in self.parts]
        floats = [[i for i in leaves if i in self.floats] for leaves in indices]
        needed = [k for k, leaves in enumerate(floats) if {*leaves} - self.numbers]
        wanted = [] if wrt is None else [k for k, leaves in enumerate(floats) if {*leaves} & {*self.chosen(wrt)}]
        each = list(returned) if isinstance(returned, list | tuple) else [returned]
        with_floats = [k for k, leaves in enumerate(floats) if leaves]
        for way in (list(range(len(floats))), needed, with_floats, wanted):
            if len(way) == len(each):
                for k, value in zip(way, each, strict=True):
                    _align(self.parts[k], value, found, self.arguments[k])
                return
        if len(needed) == 1 and isinstance(self.parts[needed[0]], list | tuple):
            _align(self.parts[needed[0]], returned, found, self.arguments[needed[0]])
        elif returned is not None:
            count = len(needed) or len(floats)
            raise Unfit(f"expected {gradients_for(count)}, got {len(each)} (wrt= chooses the inputs to check)")


def _align(part: Any, value: Any, found: dict[int, Any], name: str) -> None:
    """Assign the gradients of an argument to its leaves."""
    if isinstance(part, Slot):
        if isinstance(value, dict | tuple) or (isinstance(value, list) and not is_numbers(value)):
            raise Unfit(f"the gradient of {name} is a {type(value).__name__}; expected an array")
        found[part.index] = value
    elif value is None or not any(parts(part, Slot)):
        return
    elif isinstance(part, dict):
        if not isinstance(value, dict):
            raise Unfit(f"the gradient of {name} is a {type(value).__name__}; expected a dict")
        for key, inner in part.items():
            _align(inner, of_key(value, key), found, f"{name}[{key!r}]")
    else:
        values = [value] if len(part) == 1 and not isinstance(value, list | tuple) else value
        if not hasattr(values, "__len__") or len(values) != len(part):
            got = f"a {type(value).__name__} of shape {np.shape(value)}"
            raise Unfit(f"expected {len(part)} gradients, one for each array of {name}, got {got}")
        for i, (inner, one) in enumerate(zip(part, values, strict=True)):
            _align(inner, one, found, f"{name}[{i}]")


def of_key(returned: Mapping[Any, Any], key: Any) -> Any:
    """Return the gradient of a name in a dict, under the name itself or one of its `spellings`."""
    return next((returned[spelled] for spelled in (key, *spellings(key)) if spelled in returned), None)


def spellings(name: Any) -> tuple[str, ...]:
    return f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad"


def parts(whole: Any, kind: type[Part]) -> Iterator[Part]:
    """Yield the objects of a class in lists, tuples and dicts, at any depth."""
    if isinstance(whole, kind):
        yield whole
    elif isinstance(whole, dict | list | tuple):
        for inner in whole.values() if isinstance(whole, dict) else whole:
            yield from parts(inner, kind)


def _together(part: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(part, Slot):
        array = arrays[part.index]
        return array[()] if part.number and isinstance(array, np.ndarray) else array
    if isinstance(part, dict | list | tuple):
        return _alike(part, [_together(inner, arrays) for inner in (part.values() if isinstance(part, dict) else part)])
    return fresh(part)


def _alike(container: Any, parts: Sequence[Any]) -> Any:
    """Return a container of the same kind with other parts."""
    if isinstance(container, dict):
        made = copy.copy(container)
        made.update(zip(container, parts, strict=True))
        return made
    return type(container)(*parts) if hasattr(container, "_fields") else type(container)(parts)


def fresh(value: Any) -> Any:
    """Return a copy, so that each call starts from the same state, or the value itself if it cannot be copied."""
    try:
        return copy.deepcopy(value)
    except Exception:  # whatever the class of a user's object raises
        return value


def is_numbers(values: Any) -> bool:
    """Return whether a value is a number or a nested list of numbers."""
    return all(map(is_numbers, values)) if isinstance(values, list) else isinstance(values, int | float | np.number)
