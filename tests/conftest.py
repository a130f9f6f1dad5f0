"""How much is tested: `python -m pytest` takes a minute or two, and `--exhaustive` runs the rest, on more examples.

Hypothesis draws the same every time. `HYPOTHESIS_PROFILE=thorough` searches further and at random.
"""

import gc
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# What it caches about the sources would otherwise stand in the work tree.
set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "hypothesis"))

settings.register_profile(
    "quick",
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the first draw of a strategy builds it; machines differ
)
settings.register_profile("exhaustive", settings.get_profile("quick"), max_examples=100)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=500, derandomize=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="run also what takes long, and draw more examples")


def pytest_configure(config: pytest.Config) -> None:
    usual = "exhaustive" if config.getoption("exhaustive") else "quick"
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", usual))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays until the end: a walk through all tests takes it half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Workers take over from each other's ends: what shares a tour or the cases of a row stands together, in front.
    items.sort(key=_shares)
    if not config.getoption("exhaustive"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("exhaustive")])
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


@pytest.fixture(scope="session")
def budget(pytestconfig: pytest.Config) -> str:
    """How many points a search tries in which nothing is to be found."""
    return "normal" if pytestconfig.getoption("exhaustive") else "quick"


def _shares(item: pytest.Item) -> tuple[int, str]:
    if item.path.name.startswith("test_tour"):
        return 0, item.path.name
    row = item.callspec.params.get("row") if hasattr(item, "callspec") else None
    return (1, row.label) if hasattr(row, "cases") else (2, "")


@pytest.fixture(scope="module")
def erf_without_scipy() -> Iterator[None]:
    """Where SciPy is missing, mpmath stands in for its erf, so that erf's rule is tested everywhere."""
    if importlib.util.find_spec("scipy"):
        yield
        return
    special = types.ModuleType("scipy.special")

    def erf(z):
        # With 130 digits the 100 that a complex step is smaller than 1 are not lost.
        with mpmath.workdps(130 if 0 < abs(z.imag) < 1e-9 else 16):
            return mpmath.erf(z)

    special.erf = lambda x: np.vectorize(erf, otypes=[object])(x).astype(x.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "scipy", types.ModuleType("scipy"))
        patch.setitem(sys.modules, "scipy.special", special)
        yield


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes a module of the user's own into a folder, which becomes the current one, and is returned."""
    written = []

    def write(name: str, source: str) -> Path:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        # A module that is written twice in a second must not come from the cache.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.delitem(sys.modules, name, raising=False)
        written.append(name)
        return tmp_path

    yield write
    for name in written:
        sys.modules.pop(name, None)
