"""When lines are noted: while explore runs a function, and never otherwise."""

import gc
import weakref

import numpy as np
from test_source import X, code_of, parts, with_helper

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import lines
from tinygrad_norm.graph.explorer.recording import Recording


def test_a_function_that_runs_again_without_origins_has_its_lines():
    def particular(x):
        if type(x > 0) is not np.ndarray:
            raise TypeError("no array")
        return np.tanh(x) * (x > 0)

    assert parts(particular)[0] == "np.tanh(x)"


def test_frames_are_looked_at_by_explore_alone(monkeypatch):
    looks = []
    monkeypatch.setattr(lines, "_frames", lambda: looks.append(1) or [])
    x, layer = tn.tensor(X, requires_grad=True), tn.nn.BatchNorm1d(3)
    step = tn.optim.SGD(layer.parameters(), lr=0.1)
    (layer(x) ** 2).sum().backward()
    step.step()
    tn.draw(with_helper, x, backward=True)
    tn.grad(tn.batch_norm(x), x, X, create_graph=True)
    tn.check_module(layer, X)
    assert looks == []
    tn.explore(with_helper, X)
    assert looks


def test_a_recording_is_freed_without_a_collector():
    gc.collect()
    gc.disable()
    try:
        made = Recording(with_helper, {"x": X})
        code_of(made)
        y = weakref.ref(made.y)
        del made
        assert y() is None
    finally:
        gc.enable()
