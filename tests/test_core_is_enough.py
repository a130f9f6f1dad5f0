"""The claims about size and structure: sixteen primitives carry the norms, the engine is short, imports run one way."""

from __future__ import annotations

import ast
import graphlib
import html
import re
import sys
from typing import Any

import numpy as np
import pytest
import structure
from closed_forms import inputs_of
from code_lines import code_lines
from structure import MODULES, ROOT, imports, part_of

import tinygrad_norm as tn
from tinygrad_norm.engine.ops import core
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.engine.tensor import Tensor, walk

CORE = {name for name, p in PRIMITIVES.items() if all(rule.__module__ == core.__name__ for rule in p.rules)}
NORMS = {
    "batch_norm": lambda x, weight, bias: tn.batch_norm(x, weight=weight, bias=bias),
    "layer_norm": lambda x, weight, bias: tn.layer_norm(x, weight.shape, weight, bias),
    "instance_norm": lambda x, weight, bias: tn.instance_norm(x, weight=weight, bias=bias),
    "group_norm": lambda x, weight, bias: tn.group_norm(x, 2, weight, bias),
    "rms_norm": lambda x, weight: tn.rms_norm(x, weight.shape, weight),
}


def primitives_through_order(y: Tensor, leaves: list[Tensor], order: int) -> set[str]:
    """The primitives of the forward graph and of each derivative's graph."""
    outputs: list[Tensor] = [y]
    for _ in range(order):
        g = [np.random.default_rng(len(outputs)).standard_normal(output.shape) for output in outputs]
        outputs = [*tn.grad(outputs, leaves, g, create_graph=True)]
    return {tensor.node.primitive.name for tensor in walk([y, *outputs])}


# The core.


def test_there_are_at_most_sixteen_core_primitives() -> None:
    assert {"add", "multiply", "mean", "sum", "broadcast_to", "rsqrt"} <= CORE
    assert len(CORE) <= 16, sorted(CORE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "shape"), [(n, s) for n in NORMS for s in ((3, 4), (2, 4, 2, 3)) if (n, s) != ("instance_norm", (3, 4))]
)
def test_norms_and_their_gradients_need_the_core_alone(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    arrays = inputs_of(name, shape, np.random.default_rng(0), dtype)
    leaves = [tn.tensor(a, requires_grad=True) for a in arrays]
    used = primitives_through_order(NORMS[name](*leaves), leaves, order=2)
    assert used <= CORE, sorted(used - CORE)
    # The composition itself was walked, not something fused.
    assert {"mean", "square", "rsqrt", "multiply", "broadcast_to", "sum"} <= used


def test_a_small_network_needs_the_core_alone() -> None:
    x, w, v = (np.random.default_rng(1).standard_normal(shape) for shape in ((5, 3), (3, 4), (4, 2)))
    leaves = [tn.tensor(a, requires_grad=True) for a in (w, v)]
    y = tn.batch_norm(np.tanh(x @ leaves[0])) @ leaves[1]
    used = primitives_through_order(tn.ops.relu(y) / 2, leaves, order=2)
    assert used <= CORE, sorted(used - CORE)
    assert {"matmul", "tanh", "where", "transpose"} <= used


# Reading the source.


def test_lines_of_code_are_counted_without_comments_blanks_and_docstrings() -> None:
    kept = ['x = """a', "", 'b"""  # kept', "def f():", "    return (", "        1", "    )"]
    dropped = ['"""Module."""', "", "# comment"]
    source = "\n".join([*dropped, *kept[:4], '    """Two', '    lines."""', "", *kept[4:], ""])
    assert code_lines(source) == len(kept)


def test_the_engine_with_its_core_has_at_most_760_lines_of_code() -> None:
    pending = [f"{ROOT.name}.engine.{name}" for name in ("tensor", "autodiff", "ops.core")]
    for name in pending:
        found = {target for target, _, _ in imports(MODULES[name]) if target.startswith(f"{ROOT.name}.engine.")}
        pending += sorted(found - set(pending))
    counts = {name: code_lines(MODULES[name].read_text(encoding="utf-8")) for name in pending}
    assert f"{ROOT.name}.engine.operators" in counts
    assert sum(counts.values()) <= 760, counts


def test_no_norm_is_longer_than_fifteen_lines_of_code() -> None:
    """The functional module reads like the textbook: each body without its docstring."""
    source = MODULES[f"{ROOT.name}.norm.functional"].read_text(encoding="utf-8")
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert {"batch_norm", "normalize", "standardized"} <= {function.name for function in functions}
    for function in functions:
        body = function.body[bool(ast.get_docstring(function)) :]
        assert code_lines("\n".join(map(ast.unparse, body))) <= 15, function.name
        assert body[-1].end_lineno - body[0].lineno < 15, function.name


# Imports.

PARTS = ["engine", "norm", "graph", "check", "nn", "datasets", "table"]
MAY_IMPORT: dict[str, set[str]] = {
    "engine": set(),
    "table": set(),
    "datasets": {"engine"},
    "norm": {"engine"},
    "graph": {"engine", "norm", "check"},
    "check": {"engine"},
    "nn": {"engine", "norm", "table"},
    "fusing": {"engine", "nn", "table"},
    "distributed": {"engine", "norm", "nn"},
    "exercises": {"engine", "check", "norm", "nn"},
    "tour": {*PARTS, ""},
    "cli": {*PARTS, "exercises", "tour", ""},
    "__main__": {"cli"},
    "": {*PARTS, "fusing", "distributed", "tour"},
}
"""For each part of the package, the parts it stands on; "" is the package itself."""


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    part = part_of(module)
    assert part in MAY_IMPORT, f"{part} has no place in the house"
    targets = {part_of(target) for target, _, _ in imports(MODULES[module]) if target.split(".")[0] == ROOT.name}
    assert targets <= MAY_IMPORT[part] | {part}


def test_no_module_imports_itself_in_a_circle() -> None:
    needs = {
        module: {target for target, inside, typing in imports(path) if target in MODULES and not inside | typing}
        for module, path in MODULES.items()
    }
    assert needs[f"{ROOT.name}.norm.functional"] >= {f"{ROOT.name}.engine.ops", f"{ROOT.name}.norm.checks"}
    order = list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_functions_import_third_party_modules_only(module: str) -> None:
    inside = {target.split(".")[0] for target, is_inside, _ in imports(MODULES[module]) if is_inside}
    assert not inside & {ROOT.name, *sys.stdlib_module_names}


# The pictures of imports that the site shows.


def arrows(svg: str) -> set[tuple[str, str]]:
    """Read the arrows back from a drawing."""
    titles = re.findall(r'class="edge">\s*<title>(.*?)</title>', svg)
    return {tuple(html.unescape(title).split("->")) for title in titles}


def pairs(found: dict[str, set[str]]) -> set[tuple[str, str]]:
    return {(name, target) for name, targets in found.items() for target in targets}


def with_what_follows(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    longer = found | {(a, d) for a, b in found for c, d in found if b == c}
    return found if longer == found else with_what_follows(longer)


def test_the_picture_of_the_rooms_has_the_imports_of_the_code() -> None:
    written = {
        (part_of(module), part_of(target))
        for module, path in MODULES.items()
        for target, _, _ in imports(path)
        if target.startswith(f"{ROOT.name}.")
    }
    written = {(a, b) for a, b in written if a != b and "" not in (a, b) and a != "__main__"}
    assert {("norm", "engine"), ("fusing", "nn"), ("cli", "exercises")} <= written
    assert arrows(structure.picture(structure.rooms(), "rooms")) == written
    drawn = arrows(structure.picture(structure.thinned(structure.rooms()), "rooms"))
    assert drawn < written
    assert with_what_follows(drawn) == with_what_follows(written)


def test_the_picture_of_the_engine_has_the_imports_of_its_files() -> None:
    found = structure.files("engine")
    folder = ROOT / "engine"
    assert set(found) == {p.relative_to(folder).as_posix() for p in folder.rglob("*.py") if p.name != "__init__.py"}
    assert found["tensor.py"] == {"context.py", "operators.py", "primitive.py"}
    assert found["primitive.py"] == {"context.py"}  # and not tensor.py, which it needs for types alone
    drawn = arrows(structure.picture(structure.thinned(found), "engine"))
    assert ("ops/core.py", "tensor.py") in drawn
    assert ("ops/core.py", "context.py") not in drawn
    assert with_what_follows(drawn) == with_what_follows(pairs(found))
