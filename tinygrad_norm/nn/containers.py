"""Containers of modules: Sequential, ModuleList and ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import count
from typing import Any, Self

from .module import Module, as_model


def _put(owner: Module, name: str, module: Module) -> None:
    """Set a module as an attribute, and thereby as a part of the state, under a name that is not in use."""
    if not isinstance(name, str):
        raise TypeError(f"the names of modules must be strings, not {name!r}")
    if not name or "." in name:
        raise KeyError(f"invalid module name {name!r}: a name must not be empty or contain a dot")
    if hasattr(owner, name) and not isinstance(owner.__dict__.get(name), Module):
        raise KeyError(f"{type(owner).__name__} already has an attribute {name!r}; rename the module")
    setattr(owner, name, as_model(type(owner).__name__, module))


class _Row(Module):
    """A list of modules, named "0", "1", ... in the state dict."""

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __getitem__(self, index: Any) -> Any:
        return self._part(dict([*self.children()][index])) if isinstance(index, slice) else [*self][index]

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules.values())  # type: ignore[call-arg]

    def __setitem__(self, index: int, module: Module) -> None:
        _put(self, [*self.children()][index][0], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = [*self]
        del modules[index]
        self._renumber(modules)

    def __add__(self, other: Iterable[Module]) -> Self:
        return type(self)().extend([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def append(self, module: Module) -> Self:
        """Append a module and return self."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Append modules and return self."""
        modules = list(modules)
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__} requires Modules, not {type(module).__name__} (layer {i})")
        for module in modules:
            names = map(str, count(len(self)))
            setattr(self, next(name for name in names if name not in self.__dict__), module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Insert a module before an index, rename the modules after it, and return self."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} modules")
        modules = [*self]
        modules.insert(index, as_model(type(self).__name__, module))
        return self._renumber(modules)

    def pop(self, index: int | slice = -1) -> Any:
        """Remove and return the module at an index, or those in a slice; the modules after it are renamed."""
        removed = self[index]
        del self[index]
        return removed

    def _renumber(self, modules: Iterable[Module]) -> Self:
        for name, _ in [*self.children()]:
            delattr(self, name)
        return self.extend(modules)


class Sequential(_Row):
    """Apply layers one after the other. They are named "0", "1", ... in the state dict, or by the keys of a dict.

    A Sequential works like a list: it supports indices, slices (whose layers keep their names), ``append``, ``extend``,
    ``insert``, ``pop``, ``del`` and ``+``.

    Parameters
    ----------
    *layers : Module
        The layers, or a single dict from str to Module.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Linear(4, 2), tn.nn.BatchNorm1d(2), tn.nn.Tanh())
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        super().__init__()
        match layers:
            case (Mapping() as named,):
                for name, layer in named.items():
                    _put(self, name, layer)
            case _:
                self.extend(layers)  # type: ignore[arg-type]

    def _part(self, modules: dict[str, Module]) -> Self:
        return type(self)(modules)

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


class ModuleList(_Row):
    """A list of modules that registers their parameters, named "0.weight", "1.weight", ...; it has no ``forward``.

    Modules in a plain Python list are not part of a model. A ModuleList works like a list; a slice is numbered from 0.

    Parameters
    ----------
    modules : iterable of Modules, optional

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> layers = tn.nn.ModuleList(tn.nn.Linear(2, 2, bias=False) for _ in range(3))
    >>> layers.append(tn.nn.Tanh())[-1], len(layers[1:])
    (Tanh(), 3)
    >>> list(layers.state_dict())
    ['0.weight', '1.weight', '2.weight']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)


class ModuleDict(Module, MutableMapping[str, Module]):
    """A dict of modules that registers their parameters, named "key.weight"; it has no ``forward``.

    Parameters
    ----------
    modules : mapping from str to Module, or iterable of pairs, optional

    Raises
    ------
    KeyError
        If a key is empty, contains a dot, or is the name of an existing attribute, such as "keys".

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> heads = tn.nn.ModuleDict({"a": tn.nn.Linear(2, 1), "b": tn.nn.Tanh()})
    >>> list(heads), heads["b"], [name for name, _ in heads.named_parameters()]
    (['a', 'b'], Tanh(), ['a.weight', 'a.bias'])
    """

    # Compare and hash by identity, as for other modules, not by contents, as for mappings.
    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        super().__init__()
        self.update(() if modules is None else modules)

    def __getitem__(self, key: str) -> Module:
        return dict(self.children())[key]

    def __setitem__(self, key: str, module: Module) -> None:
        _put(self, key, module)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self)
