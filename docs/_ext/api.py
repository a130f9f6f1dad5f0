"""The pages of the API reference, written into docs/api from what the package calls public."""

import inspect
import re
from pathlib import Path

from sphinx.ext import autosummary

import tinygrad_norm as tn
from tinygrad_norm import exercises
from tinygrad_norm.engine.primitive import PRIMITIVES

PACKAGE = tn.__name__


def of_the_package(room):
    """Return the paths of what the package itself offers and a subpackage defines."""
    return [f"{PACKAGE}.{name}" for name in tn.__all__ if _home(getattr(tn, name)).startswith(f"{PACKAGE}.{room}")]


def of_module(module, path):
    """Return the paths of a module's public names: where `tn` has one, too, the shorter path."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if _is_own(module, name)]
    things = {name: getattr(module, name) for name in names if not inspect.ismodule(getattr(module, name))}
    return [f"{PACKAGE}.{'' if getattr(tn, n, None) is thing else f'{path}.'}{n}" for n, thing in things.items()]


def _home(thing):
    return getattr(thing, "__module__", "")


def _is_own(module, name):
    thing = getattr(module, name)
    is_code = inspect.isclass(thing) or inspect.isfunction(thing)
    return is_code and name[0] != "_" and _home(thing).startswith(module.__name__)


def pages():
    """Return for each page its name, title, introduction and sections, which are lists of paths under headings."""
    return [
        (
            "engine",
            "Tensors and gradients",
            "What records a computation, and the functions that differentiate it. A Tensor also has the attributes\n"
            "and methods of ndarray that :doc:`this list </numpy>` names.",
            {"": of_the_package("engine")},
        ),
        (
            "norms",
            "Normalizations",
            "Functions of Tensors and arrays. The layers with the same names are in :doc:`nn`.",
            {"": of_the_package("norm"), "The wider family": of_module(tn.norm.more, "norm.more")},
        ),
        (
            "nn",
            "Layers, losses and models",
            "Names, arguments, defaults and state-dict keys are PyTorch's.",
            {"": of_module(tn.nn, "nn"), "The wider family": of_module(tn.nn.more, "nn.more")},
        ),
        ("optim", "Optimizers", "Each binds new arrays to the parameters.", {"": of_module(tn.optim, "optim")}),
        ("graph", "Pictures", "Drawings of what was computed, and pages.", {"": of_module(tn.graph, "graph")}),
        ("check", "Checks", "Tests of gradients, automatic or your own.", {"": of_module(tn.check, "check")}),
        ("fuse", "Compiled compositions", "It needs the extra ``compile``.", {"": of_the_package("fusing")}),
        (
            "distributed",
            "Across processes",
            "Batch norm of a batch that is split across processes.",
            {"": of_module(tn.distributed, "distributed")},
        ),
        (
            "exercises",
            "Exercises",
            "What judges an answer, for notebooks and for tests of a class.",
            {"": of_module(exercises, "exercises")},
        ),
    ]


def _heading(title, line):
    return f"{title}\n{line * len(title)}\n\n"


def written(title, introduction, sections):
    """Return a page with a table of names, each of which has a page of its own."""
    text = _heading(title, "=") + f"{introduction}\n\n"
    for heading, paths in sections.items():
        text += _heading(heading, "-") if heading else ""
        text += ".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n"
        text += "".join(f"   ~{path}\n" for path in paths) + "\n"
    return text


def operations():
    """Return the page of the operations, whose descriptions are short: all on one page."""
    paths = of_module(tn.ops, "ops")
    text = _heading("Operations", "=") + (
        "``tn.ops`` holds the primitives and the functions composed of them. NumPy's functions of the same names lead\n"
        "here when they meet a Tensor. In a gradient, ``g`` is the cotangent of the result ``y``.\n\n"
    )
    text += ".. autosummary::\n   :nosignatures:\n\n" + "".join(f"   ~{path}\n" for path in paths) + "\n"
    return text + "".join(f".. autofunction:: {path}\n\n" for path in paths)


def _write(path, text):
    # Sphinx reads a file again when its date changes.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_pages(app, _config):
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    names = []
    for name, *page in pages():
        names.append(name)
        _write(folder / f"{name}.rst", written(*page))
    names.insert(1, "ops")
    _write(folder / "ops.rst", operations())
    contents = ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in names)
    _write(folder / "index.rst", _heading("API", "=") + f"{contents}\n:ref:`genindex`\n")


def add_gradient(_app, _what, name, thing, _options, lines):
    """Add what a primitive's rules compute to its description."""
    primitive = PRIMITIVES.get(name.rpartition(".")[2])
    if primitive is None or ".ops." not in name or not primitive.operands:
        return
    terms = [f"``{formula}`` to ``{x}``" for x, formula in zip(primitive.operands, primitive.formulas, strict=False)]
    lines += ["", f"*Gradient.* {', '.join(terms)}.", ""]


def setup(app):
    # In a table a description ends with its first sentence, and not inside of ``n c ... -> c``.
    autosummary.periods_re = re.compile(r"(?<=[\w`)])\.\s+")
    app.connect("config-inited", write_pages)
    app.connect("autodoc-process-docstring", add_gradient, priority=600)  # after numpydoc
    return {"parallel_read_safe": True, "parallel_write_safe": True}
