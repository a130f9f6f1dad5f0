"""For test suites: ``pytest_plugins = ["tinygrad_norm.check.pytest_plugin"]`` in conftest.py.

It is opt-in, so other test suites do not load it. It adds the option ``--gradient-budget`` and the fixture
``gradient_check``, which uses that budget and a different seed for each test. A failed check shows its report and not a
traceback through the checker.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from .calling import is_layer
from .gradients import check_backward, check_gradients
from .report import GradientMismatch, GradientReport
from .search import BUDGETS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--gradient-budget``."""
    group = parser.getgroup("tinygrad_norm")
    group.addoption(
        "--gradient-budget", choices=tuple(BUDGETS), default="normal", help="examples of each gradient_check"
    )


@pytest.fixture
def gradient_check(request: pytest.FixtureRequest) -> Callable[..., GradientReport]:
    """Return `check_gradients`, with the budget of the command line and a seed made from the name of the test.

    Called with a forward and a backward function, or a layer that has both, it runs `check_backward`.
    """

    def check(fn: Any, *inputs: Any, **options: Any) -> GradientReport:
        options.setdefault("budget", request.config.getoption("--gradient-budget"))
        options.setdefault("seed", zlib.crc32(request.node.nodeid.encode()))
        by_hand = is_layer(fn) or (inputs and (inputs[0] is None or callable(inputs[0])))
        return (check_backward if by_hand else check_gradients)(fn, *inputs, **options)

    return check


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Show the report instead of a traceback."""
    outcome = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, GradientMismatch):
        report = outcome.get_result()
        where = f"{item.location[0]}:{(item.location[1] or 0) + 1}: {item.location[2]}"
        report.longrepr = f"{where}\n\n{call.excinfo.value.report.text()}"
