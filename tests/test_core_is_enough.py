"""The claims about size and structure: sixteen primitives carry the norms, the engine is short, imports run one way."""

from __future__ import annotations

import ast
import graphlib
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from closed_forms import inputs_of

import tinygrad_norm as tn
from tinygrad_norm.engine.ops import core
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.engine.tensor import Tensor, walk

ROOT = Path(tn.__file__).parent
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


def imports(path: Path) -> Iterator[tuple[str, bool, bool]]:
    """Each import as an absolute module name, whether it is inside a function, and whether it is for types only."""
    package = (ROOT.name, *path.relative_to(ROOT).parent.parts)

    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[tuple[str, bool, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                deeper = f"{module}.{alias.name}"
                yield (deeper if deeper in MODULES else module), inside, typing
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        only_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, typing or only_types)

    return visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


def module_name(path: Path) -> str:
    parts = (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py*")) if path.suffix in (".py", ".pyi")}
"""Where the package's own names are imported when they are used, their imports stand in the stub, which comes last."""


def code_lines(source: str) -> int:
    """Lines with code: not blank, no comment alone, no docstring."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


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


def part_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


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
