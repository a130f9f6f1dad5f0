"""The ``tinygrad-norm`` command."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import metadata
from operator import attrgetter
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_norm as tn

from . import tour
from .check.calling import is_layer
from .check.correct import CORRECT
from .check.mutants import MUTANTS, Mutant
from .check.search import BUDGETS
from .check.strategies import EDGES
from .exercises.command import add_exercise
from .graph import RenderError
from .graph.examples import EXAMPLES, axes_of
from .graph.explorer import explore_norm, explore_norms
from .graph.explorer.scenes import norms
from .graph.fit import FRAMES
from .nn.family import family_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="tinygrad-norm", description="Backpropagation through normalization: the story, on real data."
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_norm {tn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    story = commands.add_parser(
        "tour", help="the story of batch normalization on handwritten digits, with numbers and files"
    )
    story.add_argument("--out", required=True, metavar="DIR", help="where to write the report and the pictures")
    story.add_argument("--seed", type=int, default=0, help="the same seed gives the same numbers (default: 0)")
    story.set_defaults(run=lambda options: tour.run(options.out, options.seed))
    _add_draw(commands)
    _add_explore(commands)
    _add_check(commands)
    add_exercise(commands)
    info = commands.add_parser("info", help="what is installed, or the family of normalizations")
    info.add_argument("topic", nargs="?", choices=["norms"], help="norms: what each is normalized over, and made of")
    info.set_defaults(run=lambda options: print(family_text() if options.topic else _installed()))
    options = parser.parse_args(arguments)
    if getattr(options, "seed", 0) < 0:
        parser.error("--seed must not be negative")
    try:
        status = options.run(options)
    except (OSError, RenderError, UsageError) as error:
        print(f"tinygrad-norm: {error}", file=sys.stderr)
        return 1
    # A check has a status of its own; the others return what they made.
    return status if isinstance(status, int) else 0


class UsageError(Exception):
    """What the command was asked for cannot be done; the message says why, in one line."""


def _add_draw(commands: Any) -> None:
    """Declare ``tinygrad-norm draw``."""
    picture = commands.add_parser("draw", help="the computation graph of a normalization, or of a function of your own")
    picture.add_argument(
        "target", metavar="TARGET", help=f"{', '.join(EXAMPLES)}, or module:function, found from this directory"
    )
    picture.add_argument("-o", "--out", required=True, metavar="FILE", help="ending in .svg, .dot, .png, .pdf or .html")
    picture.add_argument(
        "--shape", action="append", type=_shape, metavar="N,C,...", help="of an input; once for each of a function's"
    )
    picture.add_argument("--groups", type=int, default=2, help="of group_norm (default: 2)")
    picture.add_argument("--seed", type=int, default=0, help="of the values (default: 0)")
    picture.add_argument("--backward", action="store_true", help="draw the gradient, too")
    picture.add_argument("--values", action="store_true", help="write dtypes and values into the boxes")
    picture.add_argument("--detail", choices=["full", "slide"], help="slide: reshapes and casts folded (default: full)")
    picture.add_argument("--fit", choices=[*FRAMES], help="where the picture is shown; slide is then the usual detail")
    picture.add_argument("--collapse", type=_depth_or_name, metavar="N|NAME", help="scopes that become one box each")
    picture.add_argument("--open", action="append", metavar="NAME", help="named steps, as softmax, shown from inside")
    picture.add_argument("--repeat", action="store_true", help="draw equal boxes that follow each other once")
    picture.add_argument(
        "--axes", action="append", metavar="'N C H W'", help="names of the axes, for a rank; for one array 'x=N C'"
    )
    picture.add_argument("--theme", choices=["light", "dark"], default="light")
    picture.add_argument("--max-nodes", type=int, default=400, metavar="N", help="collapse above it (default: 400)")
    picture.set_defaults(run=_draw)


def _add_explore(commands: Any) -> None:
    """Declare ``tinygrad-norm explore``."""
    page = commands.add_parser("explore", help="a page that steps through a normalization, or a function of your own")
    known = ", ".join((*norms(), "norms"))
    page.add_argument("target", metavar="TARGET", help=f"{known} (all of them on the same numbers), or module:function")
    page.add_argument("-o", "--out", required=True, metavar="FILE", help="ending in .html")
    page.add_argument(
        "--shape", action="append", type=_shape, metavar="N,C,...", help="of an input; once for each of a function's"
    )
    page.add_argument("--groups", type=int, default=2, help="of group_norm and norms (default: 2)")
    page.add_argument("--seed", type=int, default=0, help="of the values (default: 0)")
    page.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> None:
    try:
        if options.target in norms() or options.target == "norms":
            if len(options.shape or ()) > 1:
                raise UsageError(f"{options.target} has one input: give one --shape, not {len(options.shape)}")
            images = options.target in ("norms", "instance_norm", "group_norm")
            shape = options.shape[0] if options.shape else (2, 4, 2, 2) if images else (4, 3)
            if options.target == "norms":
                page = explore_norms(shape, options.groups, options.seed)
            else:
                page = explore_norm(options.target, None, shape, options.seed, options.groups)
        else:
            function, inputs = _own_function(options, (*norms(), "norms"))
            page = tn.explore(function, *inputs)
        print(f"{page.save(options.out)}: {page!r}")
    except (UsageError, OSError, RenderError):
        raise
    except Exception as error:
        # The user's own code can raise anything.
        raise _told(options.target, error) from error


def _add_check(commands: Any) -> None:
    """Declare ``tinygrad-norm check``."""
    checks = commands.add_parser("check", help="check the gradient of a function, or the checker itself")
    checks.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="module:function of Tensors; or module:forward,backward of arrays; or module:Class that has both",
    )
    checks.add_argument(
        "--axes",
        action="append",
        metavar="'[NAME=]N C'",
        help="names of an input's axes; once for each input: a property check",
    )
    for name, one in (("least", "AXIS=SIZE"), ("multiples", "AXIS=SIZE"), ("domains", "NAME=DOMAIN")):
        checks.add_argument(f"--{name}", action="append", type=_named, metavar=one, default=[], help="of --axes")
    checks.add_argument("--without", action="append", choices=EDGES, metavar="EDGE", default=[], help="edges left out")
    checks.add_argument("--wrt", action="append", metavar="NAME", help="the inputs that count (default: all)")
    checks.add_argument("--rtol", type=float, default=1e-6, help="how far gradients may be apart (default: 1e-6)")
    checks.add_argument("--strict", action="store_true", help="shared memory, dtypes and unjudged points fail, too")
    checks.add_argument("--shape", action="append", type=_shape, metavar="N,C,...", help="of an input, at one point")
    checks.add_argument("--order", type=int, default=1, help="derivatives up to this order (default: 1)")
    checks.add_argument("--budget", choices=tuple(BUDGETS), default="normal")
    checks.add_argument("--seed", type=int, default=0, help="the same seed gives the same report (default: 0)")
    checks.add_argument(
        "--self-test", action="store_true", help="every known-wrong gradient must fail, every right one pass"
    )
    checks.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    """Print a report, and return the status: 1 where a gradient is wrong."""
    if options.self_test:
        return _self_test(options)
    try:
        module, _, names = (options.target or "").partition(":")
        functions = [_imported(f"{module}:{name}") for name in names.split(",")]
        layer = is_layer(functions[0])
        if layer and isinstance(functions[0], type):
            functions = [functions[0]()]
        if options.axes:
            given: list[Any] = [_axes(options)]
        else:
            shapes = options.shape or []
            given = [
                x.data
                for x in _inputs(
                    _names(options.target, functions[0].forward if layer else functions[0], len(shapes)),
                    shapes,
                    options.seed,
                )
            ]
        settings = {name: getattr(options, name) for name in ("budget", "seed", "wrt", "rtol", "strict")}
        if len(functions) == 2 or layer:
            report = tn.check_backward(*functions, *given, **settings)
        else:
            report = tn.check_gradients(functions[0], *given, order=options.order, **settings)
    except tn.GradientMismatch as error:
        print(error.report.text())
        return 1
    except UsageError:
        raise
    except Exception as error:
        raise _told(options.target or "check", error) from error
    print(report.text())
    return 0


def _axes(options: argparse.Namespace) -> tn.check.Inputs:
    """Return the inputs that ``--axes`` and the options about it describe."""
    named = [axes.rpartition("=")[::2] for axes in options.axes]
    axes = dict(named) if all(name for name, _ in named) else {}
    sizes = {name: {axis: int(size) for axis, size in getattr(options, name)} for name in ("least", "multiples")}
    edges = tuple(edge for edge in EDGES if edge not in options.without)
    known = {**axes, **sizes, "domains": dict(options.domains), "edges": edges}
    return tn.check.inputs(*() if axes else options.axes, **known)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as c=3 is")
    return name, value


def _self_test(options: argparse.Namespace) -> int:
    """Check the checker: its negative control."""
    missed, alarms, verdicts = [], [], Counter[str]()
    for case in tqdm((*CORRECT, *MUTANTS), desc="self-test", unit="gradient", leave=False, disable=None):
        try:
            tn.check_backward(
                case.forward, case.backward, case.inputs, budget=options.budget, seed=options.seed, strict=True
            )
        except tn.GradientMismatch as error:
            if isinstance(case, Mutant):
                verdicts[error.report.verdict.name] += 1
            else:
                alarms.append(case.name)
        else:
            if isinstance(case, Mutant):
                missed.append(case.name)
    print(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} known-wrong gradients were rejected:")
    print("\n".join(f"  {verdict:<24} {count}" for verdict, count in verdicts.most_common()))
    print(f"{len(CORRECT) - len(alarms)} of {len(CORRECT)} right gradients were accepted.")
    for name in (*missed, *alarms):
        print(f"  NOT AS IT SHOULD BE: {name}")
    return 1 if missed or alarms else 0


def _imported(target: str) -> Any:
    """Import ``module:function`` from the current directory."""
    module, _, name = target.partition(":")
    if not (module and name):
        raise UsageError(f"TARGET is module:function; {target!r} is not")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return attrgetter(name)(importlib.import_module(module))


def _told(target: str, error: Exception) -> UsageError:
    """Return an error of somebody's code in one line."""
    return UsageError(f"{target}: {type(error).__name__}: {' '.join(str(error).split())}")


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape, as 8,3 is")
    return tuple(map(int, sizes))


def _depth_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _draw(options: argparse.Namespace) -> None:
    named = [text.rpartition("=")[::2] for text in options.axes or ()]
    axes: list[Any] = [{name: text} if name else text for name, text in named]
    try:
        if options.target in EXAMPLES:
            y = _norm(options)
            axes = axes or axes_of(options.target, y.shape)
        else:
            y = _own(options)
    except UsageError:
        raise
    except Exception as error:
        # The user's own code can raise anything.
        raise _told(options.target, error) from error
    try:
        drawing = tn.draw(
            *(y if isinstance(y, tuple | list) else (y,)),
            backward=options.backward,
            values=options.values,
            detail=options.detail,
            fit=options.fit,
            collapse=options.collapse,
            open=options.open or False,
            repeat=options.repeat,
            axes=axes,
            theme=options.theme,
            max_nodes=options.max_nodes,
        )
        print(f"{drawing.save(options.out)}: {drawing!r}")
    except (TypeError, ValueError) as error:
        raise UsageError(f"{options.target}: {error}") from error


def _norm(options: argparse.Namespace) -> Any:
    """Return a norm of random values."""
    example = EXAMPLES[options.target]
    shapes = options.shape or [example.shape]
    if len(shapes) != 1:
        raise UsageError(f"{options.target} has one input: give one --shape, not {len(shapes)}")
    affine = shapes[0][example.affine]
    names, shapes = ["x", *example.parameters], [shapes[0], *[affine] * len(example.parameters)]
    return example.call(*_inputs(names, shapes, options.seed), groups=options.groups)


def _own(options: argparse.Namespace) -> Any:
    """Return what a function of the user's makes of random values."""
    function, inputs = _own_function(options, EXAMPLES)
    return function(*inputs)


def _own_function(options: argparse.Namespace, known: Iterable[str]) -> tuple[Any, list[tn.Tensor]]:
    """Import a function of the user's, and make random values for it."""
    module, _, name = options.target.partition(":")
    if not (module and name):
        raise UsageError(f"TARGET is one of {', '.join(known)}, or module:function; {options.target!r} is neither")
    function = _imported(options.target)
    shapes = options.shape or []
    return function, _inputs(_names(options.target, function, len(shapes)), shapes, options.seed)


def _names(target: str, function: Any, count: int) -> list[str]:
    """Return the names of a function's first ``count`` parameters; refuse a number that it does not take."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except ValueError:
        # NumPy's ufuncs have signatures since 2.4, and many built-in functions have none.
        if not count:
            raise UsageError(f"{target} has no signature: give --shape for each input, as in --shape 8,3") from None
        return [f"x{i}" for i in range(count)]
    single = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in single)
    more = [f"{p.name}{i}" for p in parameters if p.kind is p.VAR_POSITIONAL for i in range(count - len(single))]
    names = [*(p.name for p in single), *more]
    if not needed <= count <= len(names):
        takes = ", ".join(names) or "nothing"
        raise UsageError(f"{target} takes {takes}: give --shape for each, as in --shape 8,3 --shape 3, not {count}")
    return names[:count]


def _inputs(names: Sequence[str], shapes: Sequence[tuple[int, ...]], seed: int) -> list[tn.Tensor]:
    random = np.random.default_rng(seed)
    pairs = zip(names, shapes, strict=True)
    return [tn.tensor(random.normal(size=shape), requires_grad=True, name=name) for name, shape in pairs]


def _installed() -> str:
    """Return versions, and what is optional and here or not."""
    lines = [("tinygrad_norm", tn.__version__), ("Python", platform.python_version())]
    optional = {
        "numpy": "", "graphviz": "", "hypothesis": "", "wasmtime": "pictures without Graphviz's dot",
        "matplotlib": "plots; pip install 'tinygrad_norm[plot]'",
        "typst": "PDF and PNG; pip install 'tinygrad_norm[print]'",
        "safetensors": "state files; pip install 'tinygrad_norm[files]'",
        "scipy": "the exact GELU; pip install scipy",
    }  # fmt: skip
    for package, purpose in optional.items():
        try:
            lines.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            lines.append((package, f"not installed ({purpose})"))
    lines.append(("dot", shutil.which("dot") or "not on PATH (needed for .png and .pdf without typst)"))
    return "\n".join(f"{name:<14} {what}" for name, what in lines)
