"""Modules that hold modules: one after the other."""

from __future__ import annotations

from typing import Any

from .module import Module


class Sequential(Module):
    """Layers one after the other, named "0", "1", ... in the state dict.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Linear(4, 2), tn.nn.BatchNorm1d(2), tn.nn.Tanh())
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential takes Modules, not {type(layer).__name__} (layer {i})")
            setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        for _, layer in self.children():
            x = layer(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return [layer for _, layer in self.children()][index]
