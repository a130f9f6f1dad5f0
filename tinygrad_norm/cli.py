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
        prog="tinygrad-norm", description="Draw, explore and check backpropagation through normalization layers."
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_norm {tn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    story = commands.add_parser(
        "tour", help="demonstrate batch normalization on handwritten digits and write a report with pictures"
    )
    story.add_argument("--out", required=True, metavar="DIR", help="where to write the report and the pictures")
    story.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    story.set_defaults(run=lambda options: tour.run(options.out, options.seed))
    _add_draw(commands)
    _add_explore(commands)
    _add_check(commands)
    add_exercise(commands)
    info = commands.add_parser("info", help="print installed versions, or the family of normalizations")
    info.add_argument("topic", nargs="?", choices=["norms"], help="norms: print the axes and parameters of each norm")
    info.set_defaults(run=lambda options: print(family_text() if options.topic else _installed()))
    options = parser.parse_args(arguments)
    if getattr(options, "seed", 0) < 0:
        parser.error("--seed must not be negative")
    try:
        status = options.run(options)
    except (OSError, RenderError, UsageError) as error:
        print(f"tinygrad-norm: {error}", file=sys.stderr)
        return 1
    # Only a check returns a status.
    return status if isinstance(status, int) else 0


class UsageError(Exception):
    """An error in the use of the command, with a message of one line."""


def _add_draw(commands: Any) -> None:
    """Declare ``tinygrad-norm draw``."""
    picture = commands.add_parser("draw", help="draw the computation graph of a normalization or of your own function")
    picture.add_argument(
        "target", metavar="TARGET", help=f"{', '.join(EXAMPLES)}, or module:function in the current directory"
    )
    picture.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="output file: .svg, .dot, .png, .pdf or .html"
    )
    picture.add_argument(
        "--shape", action="append", type=_shape, metavar="N,C,...", help="shape of an input; repeat for each input"
    )
    picture.add_argument("--groups", type=int, default=2, help="number of groups of group_norm (default: 2)")
    picture.add_argument("--seed", type=int, default=0, help="random seed of the inputs (default: 0)")
    picture.add_argument("--backward", action="store_true", help="also draw the gradient")
    picture.add_argument("--values", action="store_true", help="show dtypes and values in the boxes")
    picture.add_argument("--detail", choices=["full", "slide"], help="slide: hide reshapes and casts (default: full)")
    picture.add_argument(
        "--fit", choices=[*FRAMES], help="medium to fit the picture to; the default detail is then slide"
    )
    picture.add_argument("--collapse", type=_depth_or_name, metavar="N|NAME", help="draw scopes as one box each")
    picture.add_argument("--open", action="append", metavar="NAME", help="named step to expand, such as softmax")
    picture.add_argument("--repeat", action="store_true", help="draw consecutive equal boxes only once")
    picture.add_argument(
        "--axes", action="append", metavar="'N C H W'", help="names of the axes for a rank; for one array 'x=N C'"
    )
    picture.add_argument("--theme", choices=["light", "dark"], default="light", help="colour theme (default: light)")
    picture.add_argument(
        "--max-nodes", type=int, default=400, metavar="N", help="collapse larger graphs (default: 400)"
    )
    picture.set_defaults(run=_draw)


def _add_explore(commands: Any) -> None:
    """Declare ``tinygrad-norm explore``."""
    page = commands.add_parser("explore", help="write a page that steps through a normalization or your own function")
    known = ", ".join((*norms(), "norms"))
    page.add_argument("target", metavar="TARGET", help=f"{known} (all of them on the same numbers), or module:function")
    page.add_argument("-o", "--out", required=True, metavar="FILE", help="output file: .html")
    page.add_argument(
        "--shape", action="append", type=_shape, metavar="N,C,...", help="shape of an input; repeat for each input"
    )
    page.add_argument("--groups", type=int, default=2, help="number of groups of group_norm and norms (default: 2)")
    page.add_argument("--seed", type=int, default=0, help="random seed of the inputs (default: 0)")
    page.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> None:
    try:
        if options.target in norms() or options.target == "norms":
            if len(options.shape or ()) > 1:
                raise UsageError(f"{options.target} has one input: pass --shape once, not {len(options.shape)} times")
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
        # The user's code can raise any error.
        raise _told(options.target, error) from error


def _add_check(commands: Any) -> None:
    """Declare ``tinygrad-norm check``."""
    checks = commands.add_parser("check", help="check the gradient of a function, or the checker itself")
    checks.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="module:function for Tensors; module:forward,backward for arrays; or module:Class with both methods",
    )
    checks.add_argument(
        "--axes",
        action="append",
        metavar="'[NAME=]N C'",
        help="names of the axes of an input, for a property check; repeat for each input",
    )
    for name, one, text in (
        ("least", "AXIS=SIZE", "smallest size of an axis, with --axes"),
        ("multiples", "AXIS=SIZE", "number that divides the size of an axis, with --axes"),
        ("domains", "NAME=DOMAIN", "domain of the values of an input, with --axes"),
    ):
        checks.add_argument(f"--{name}", action="append", type=_named, metavar=one, default=[], help=text)
    checks.add_argument(
        "--without", action="append", choices=EDGES, metavar="EDGE", default=[], help="edge case to leave out"
    )
    checks.add_argument("--wrt", action="append", metavar="NAME", help="input to check (default: all)")
    checks.add_argument("--rtol", type=float, default=1e-6, help="relative tolerance (default: 1e-6)")
    checks.add_argument(
        "--strict", action="store_true", help="also fail for shared memory, wrong dtypes and points without a verdict"
    )
    checks.add_argument(
        "--shape", action="append", type=_shape, metavar="N,C,...", help="shape of an input, for a check at one point"
    )
    checks.add_argument("--order", type=int, default=1, help="highest order of derivatives (default: 1)")
    checks.add_argument("--budget", choices=tuple(BUDGETS), default="normal", help="effort (default: normal)")
    checks.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    checks.add_argument(
        "--self-test", action="store_true", help="check that known-wrong gradients fail and correct ones pass"
    )
    checks.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    """Print a report and return the exit status: 1 if a gradient is wrong."""
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
    """Return the inputs described by ``--axes`` and its options."""
    named = [axes.rpartition("=")[::2] for axes in options.axes]
    axes = dict(named) if all(name for name, _ in named) else {}
    sizes = {name: {axis: int(size) for axis, size in getattr(options, name)} for name in ("least", "multiples")}
    edges = tuple(edge for edge in EDGES if edge not in options.without)
    known = {**axes, **sizes, "domains": dict(options.domains), "edges": edges}
    return tn.check.inputs(*() if axes else options.axes, **known)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE such as c=3, not {text!r}")
    return name, value


def _self_test(options: argparse.Namespace) -> int:
    """Check that the checker rejects known-wrong gradients and accepts correct ones."""
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
    print(f"{len(CORRECT) - len(alarms)} of {len(CORRECT)} correct gradients were accepted.")
    for name in missed:
        print(f"  WRONGLY ACCEPTED: {name}")
    for name in alarms:
        print(f"  WRONGLY REJECTED: {name}")
    return 1 if missed or alarms else 0


def _imported(target: str) -> Any:
    """Import ``module:function`` from the current directory."""
    module, _, name = target.partition(":")
    if not (module and name):
        raise UsageError(f"TARGET must be module:function, not {target!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return attrgetter(name)(importlib.import_module(module))


def _told(target: str, error: Exception) -> UsageError:
    """Return an error in the user's code as a usage error of one line."""
    return UsageError(f"{target}: {type(error).__name__}: {' '.join(str(error).split())}")


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() for size in sizes):
        raise argparse.ArgumentTypeError(f"expected a shape such as 8,3, not {text!r}")
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
        # The user's code can raise any error.
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
    """Return the output of a norm for random inputs."""
    example = EXAMPLES[options.target]
    shapes = options.shape or [example.shape]
    if len(shapes) != 1:
        raise UsageError(f"{options.target} has one input: pass --shape once, not {len(shapes)} times")
    affine = shapes[0][example.affine]
    names, shapes = ["x", *example.parameters], [shapes[0], *[affine] * len(example.parameters)]
    return example.call(*_inputs(names, shapes, options.seed), groups=options.groups)


def _own(options: argparse.Namespace) -> Any:
    """Return the output of the user's function for random inputs."""
    function, inputs = _own_function(options, EXAMPLES)
    return function(*inputs)


def _own_function(options: argparse.Namespace, known: Iterable[str]) -> tuple[Any, list[tn.Tensor]]:
    """Import the user's function and make random inputs for it."""
    module, _, name = options.target.partition(":")
    if not (module and name):
        raise UsageError(f"TARGET must be one of {', '.join(known)}, or module:function, not {options.target!r}")
    function = _imported(options.target)
    shapes = options.shape or []
    return function, _inputs(_names(options.target, function, len(shapes)), shapes, options.seed)


def _names(target: str, function: Any, count: int) -> list[str]:
    """Return the names of a function's first ``count`` parameters, or raise if it does not take that number."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except ValueError:
        # NumPy's ufuncs have signatures since 2.4, and many built-in functions have none.
        if not count:
            raise UsageError(f"{target} has no signature: pass --shape for each input, as in --shape 8,3") from None
        return [f"x{i}" for i in range(count)]
    single = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in single)
    more = [f"{p.name}{i}" for p in parameters if p.kind is p.VAR_POSITIONAL for i in range(count - len(single))]
    names = [*(p.name for p in single), *more]
    if not needed <= count <= len(names):
        takes = ", ".join(names) or "nothing"
        what = f"{target} takes {takes}: pass --shape for each, as in --shape 8,3 --shape 3"
        raise UsageError(f"{what}; it was passed {count} times")
    return names[:count]


def _inputs(names: Sequence[str], shapes: Sequence[tuple[int, ...]], seed: int) -> list[tn.Tensor]:
    random = np.random.default_rng(seed)
    pairs = zip(names, shapes, strict=True)
    return [tn.tensor(random.normal(size=shape), requires_grad=True, name=name) for name, shape in pairs]


def _installed() -> str:
    """Return the versions of installed packages, and the purpose of optional packages that are missing."""
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
