"""The public function."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..nn.module import Module
from .modules import fused_module
from .run import Fused


def fuse(target: Any, threads: int = 1, missing: str = "raise") -> Any:
    """Compile a function, or the normalizations in a module, together with their gradients.

    The function is recorded once for each set of shapes, forward and, by the engine's own rules, backward. Both are
    compiled to a few sweeps over the arrays. If that is not possible, the function itself runs, and ``fallbacks``
    counts the call.

    Parameters
    ----------
    target : callable or Module
        In a function of arrays or Tensors, norms, elementwise operations, sums, means, maxima, softmax, broadcasts and
        reshapes are compiled, for float32 and float64 arrays in C order. In a module, normalizations are compiled
        together with the activations, sums and products that follow them.
    threads : int
        Number of threads that share the work on arrays of 65,536 elements and more.
    missing : {"raise", "compose"}
        What to do if numba is not installed.

    Returns
    -------
    callable or Module
        Takes the same arguments as ``target`` and returns the same results. A fused module shares parameters, buffers
        and mode with the original, and is an instance of its class. For Tensors, a fused function records one node;
        under ``create_graph`` its derivatives are those of the composition. A fused function has

        - ``fallbacks``, a Counter of how often the composition ran instead, by reason (modules have it, too);
        - ``source``: the kernels of the latest call as Python;
        - ``sweeps``: how often they read and write each array, next to the composition and the least possible;
        - an argument ``out=`` for calls with arrays: the array or arrays to write results to.

    Raises
    ------
    ImportError
        If numba is not installed. The extra ``compile`` installs it.
    TypeError, ValueError
        If ``target`` is neither a function nor a Module, or an option is invalid.

    Notes
    -----
    Numbers and other constants that the function reads from outside are looked up in each call. A function that reads
    arrays, Tensors or objects that are not among its arguments is not compiled, and neither is a function whose result
    differs from call to call.

    *Gradient.* The gradient of the composition. The linearity of sums saves sweeps, but centred terms are not split.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> fused = tn.fuse(tn.layer_norm, missing="compose")
    >>> fused(np.array([[1.0, 2.0], [3.0, 6.0]]), 2, eps=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    if not callable(target):
        raise TypeError(f"fuse expects a function or a Module, got {type(target).__name__}")
    if type(threads) is not int or threads < 1:
        raise ValueError(f"threads must be a positive integer, not {threads!r}")
    if missing not in ("raise", "compose"):
        raise ValueError(f"missing must be 'raise' or 'compose', not {missing!r}")
    available = find_spec("numba") is not None
    if not available and missing == "raise":
        raise ImportError(
            "fuse needs numba, which is not installed. Run `pip install 'tinygrad_norm[compile]'`, "
            "or use fuse(..., missing='compose') to run the composition"
        )
    if isinstance(target, Module):
        return fused_module(target, threads, available)
    return Fused(target, threads, available)
