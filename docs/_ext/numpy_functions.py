"""What Tensors do in each of NumPy's functions, listed from the engine's own tables."""

import re

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.engine.operators import FUNCTIONS
from tinygrad_norm.engine.ops.advice import ADVICE, advice, qualified
from tinygrad_norm.engine.ops.numpy_functions import _PLAIN


def functions_of(module):
    """Return the functions of a module of NumPy's that Tensors reach, by the names that users write."""
    functions = {f"{module.__name__}.{name}".replace("numpy", "np", 1): getattr(module, name) for name in dir(module)}
    return {
        name: function
        for name, function in functions.items()
        if isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    }


def listed():
    """Return the lists of the page on NumPy's functions, in Markdown."""
    every = functions_of(np) | functions_of(np.linalg)
    known = {name for name, function in every.items() if function in FUNCTIONS}
    plain = {name for name in known if every[name] in _PLAIN}
    data = {name for name in known if name in ("np.zeros_like", "np.ones_like", "np.empty_like")}
    recorded = known - plain - data
    matrices = {name for name in recorded if name.startswith("np.linalg.")}
    elementwise = {name for name in recorded if isinstance(every[name], np.ufunc) and not every[name].signature}
    methods = {qualified(f) for f in FUNCTIONS if isinstance(getattr(f, "__self__", None), np.ufunc)}
    of_arrays = {name for name in dir(np.ndarray) if not name.startswith("_") and hasattr(tn.Tensor, name)}
    refused = set(every) - known
    advised = {name: re.split("; use |; make another with ", advice(every[name])) for name in sorted(refused)}
    in_place = [f"| `{name}` | {_code(ADVICE[name])} |" for name in sorted(ADVICE) if name not in every]
    instead = [f"| `{name}` | {_code(use[1])} |" for name, use in advised.items() if len(use) > 1]
    silent = [name for name, use in advised.items() if len(use) == 1]
    rows = "\n".join(instead + in_place)
    return f"""With NumPy {np.__version__.rpartition(".")[0]}:

## With a gradient

{_paragraph("Element by element", elementwise)}

{_paragraph("Matrices", matrices)}

{_paragraph("Everything else", recorded - matrices - elementwise)}

{_paragraph("Methods of ufuncs", methods)}

{_paragraph("Attributes and methods of arrays that Tensors have", of_arrays)}

## Plain results

{_paragraph("Answers about the values, as arrays, numbers and booleans", plain)}

## Data

{_paragraph("Tensors that need no gradient", data)}

## Refused, with what to use

| function | use |
|---|---|
{rows}

## Refused: no gradient here

For their values alone, call them with `.data`. The transforms of `np.fft` are among them: their
values are complex.

{_paragraph("The rest", silent)}
"""


def _paragraph(title, names):
    return f"**{title}.** {', '.join(f'`{name}`' for name in sorted(names))}."


def _code(advised):
    """Set an expression, up to the words that may follow it, as code."""
    expression, words = re.fullmatch(r"(.*?)(, (?:if|for|a new) .*)?", advised).groups(default="")
    return f"`{expression}`{words}"
