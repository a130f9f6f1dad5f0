"""One kind of function as people write it, with a right backward and faults that people report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_norm.check import Inputs


@dataclass(frozen=True)
class Wrong:
    """A faulty backward, and what a diagnosis of it may and may not say.

    Attributes
    ----------
    name : str
        What is wrong, in a few words.
    backward : callable or object
        The faulty backward; the faulty layer, or the faulty function of value and gradient, where there is no backward.
    accepted : tuple of str
        A diagnosis is true and helpful if it contains one of these; empty where silence is right.
    forbidden : tuple of str
        Words that would mislead.
    """

    name: str
    backward: Any
    accepted: tuple[str, ...]
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """A forward pass with its right backward, its inputs, and its faults.

    Attributes
    ----------
    name : str
        The kind of function.
    forward : callable or object
        A function, or a layer with ``forward`` and ``backward``.
    backward : callable or None
        None for a layer, and for a function that returns value and gradient.
    given : Inputs
        What the check draws.
    wrong : tuple of Wrong
        The faults.
    options : mapping
        Of the check, such as ``wrt=``, or keywords of the functions, such as ``stride=2``.
    """

    name: str
    forward: Any
    backward: Any
    given: Inputs
    wrong: tuple[Wrong, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
