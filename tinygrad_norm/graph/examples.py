"""The norms that the command line draws by name, with example inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..norm.functional import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm


class Example(NamedTuple):
    """An example of a norm: the default shape of x, the axes of x that γ and β have, the parameters, and the call."""

    shape: tuple[int, ...]
    affine: slice
    parameters: str
    call: Callable[..., Any]


CHANNELS, FEATURES = slice(1, 2), slice(1, None)
EXAMPLES = {
    "batch_norm": Example((8, 3), CHANNELS, "γβ", lambda x, w, b, groups: batch_norm(x, weight=w, bias=b)),
    "layer_norm": Example((8, 3), FEATURES, "γβ", lambda x, w, b, groups: layer_norm(x, x.shape[1:], w, b)),
    "instance_norm": Example((4, 3, 8), CHANNELS, "γβ", lambda x, w, b, groups: instance_norm(x, weight=w, bias=b)),
    "group_norm": Example((4, 6, 8), CHANNELS, "γβ", lambda x, w, b, groups: group_norm(x, groups, w, b)),
    "rms_norm": Example((8, 3), FEATURES, "γ", lambda x, w, groups: rms_norm(x, x.shape[1:], w)),
    "local_response_norm": Example((4, 6, 8), CHANNELS, "", lambda x, groups: local_response_norm(x, 3)),
}
AXES = ("n c", "n c l", "n c h w", "n c d h w")


def axes_of(norm: str, shape: Sequence[int]) -> list[str]:
    """Return the axis names of the input and, for group_norm, of the input split into groups.

    Examples
    --------
    >>> axes_of("group_norm", (4, 6, 8))
    ['n c l', 'n g c l']
    """
    names = [text for text in AXES if len(text.split()) == len(shape)]
    return names + [text.replace("c", "g c") for text in names if norm == "group_norm"]
