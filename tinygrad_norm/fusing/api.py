"""The public function."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..nn.module import Module
from .modules import fused_module
from .run import Fused


def fuse(target: Any, threads: int = 1, missing: str = "raise") -> Any:
    """Compile a function, or the normalizations in a module, together with their gradients.

    The function is recorded once for the shapes that it meets, forward and, by the engine's own rules, backward; both
    are compiled to a few sweeps over the arrays. Where that is not possible, the function itself runs, and
    ``fallbacks`` counts it.

    Parameters
    ----------
    target : callable or Module
        A function of arrays or Tensors: norms, elementwise operations, sums, means, maxima, softmax, broadcasts and
        reshapes are compiled, for float32 and float64 arrays in C order. Of a module the normalizations are, with the
        activations, sums and products that follow them.
    threads : int
        How many threads share the work on arrays of 65,536 elements and more.
    missing : {"raise", "compose"}
        What to do if numba is not installed.

    Returns
    -------
    callable or Module
        Takes and returns what ``target`` does. A fused module shares parameters, buffers and modes with the original,
        and is of its class. On Tensors a function records one node, whose derivatives under ``create_graph`` are the
        composition's. A fused function has

        - ``fallbacks``, a Counter: how often the composition ran instead, by the reason (modules have it, too);
        - ``source``: the kernels of the latest call, as Python;
        - ``sweeps``: how often they read and write each array, beside the composition and the least possible;
        - ``out=`` in a call with arrays: the array, or arrays, that results are written to.

    Raises
    ------
    ImportError
        If numba, which the extra ``compile`` installs, is not there.
    TypeError, ValueError
        If ``target`` is neither a function nor a Module, or an option is wrong.

    Notes
    -----
    What the function reads from elsewhere is looked at in each call, if it is a number or another constant. A function
    that reads arrays, Tensors or objects which are not among its arguments runs as it is, and so does one that gives
    another result each time.

    *Gradient.* That of the composition: the linearity of sums is used to save sweeps, but centred terms stay whole.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> fused = tn.fuse(tn.layer_norm, missing="compose")
    >>> fused(np.array([[1.0, 2.0], [3.0, 6.0]]), 2, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    if not callable(target):
        raise TypeError(f"fuse takes a function or a Module, not {type(target).__name__}")
    if type(threads) is not int or threads < 1:
        raise ValueError(f"threads must be a positive integer, not {threads!r}")
    if missing not in ("raise", "compose"):
        raise ValueError(f"missing is 'raise' or 'compose', not {missing!r}")
    available = find_spec("numba") is not None
    if not available and missing == "raise":
        raise ImportError(
            "fuse compiles with numba, which is not installed: `pip install 'tinygrad_norm[compile]'`; "
            "fuse(..., missing='compose') runs the composition instead"
        )
    if isinstance(target, Module):
        return fused_module(target, threads, available)
    return Fused(target, threads, available)
