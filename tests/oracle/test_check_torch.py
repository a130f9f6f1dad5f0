"""PyTorch's functions, modules and autograd functions are checked where they stand, right and wrong ones."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import GradientMismatch
from tinygrad_norm.check import Verdict, inputs

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
X = np.random.default_rng(0).normal(size=(4, 3))


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return 2 * g * x * w, (g * x * x).sum(0)


class Doubled(Scaled):
    @staticmethod
    def backward(ctx, g):
        dx, dw = Scaled.backward(ctx, g)
        return dx, 2 * dw


class Forgotten(Scaled):
    @staticmethod
    def backward(ctx, g):
        return Scaled.backward(ctx, g)[0], None


def test_the_apply_of_a_function_is_checked_in_one_line():
    assert tn.check_gradients(Scaled.apply, X, X[0], seed=0).verdict is Verdict.PASSED
    assert tn.check_gradients(Scaled.apply, torch.tensor(X), torch.tensor(X[0]), seed=0).verdict is Verdict.PASSED
    report = tn.check_gradients(Scaled.apply, inputs("n c", "c"), seed=0, budget="quick")
    assert [argument.name for argument in report.arguments] == ["x", "w"]
    for wrong in (Doubled, Forgotten):
        for given in ((X, X[0]), (inputs(x="n c", w="c"),)):
            with pytest.raises(GradientMismatch, match="the gradient of w is wrong"):
                tn.check_gradients(wrong.apply, *given, seed=0, budget="quick")


MODULES = {
    "linear": (lambda: torch.nn.Linear(3, 2), (X,), ["weight", "bias", "input"]),
    "lstm cell": (lambda: torch.nn.LSTMCell(3, 2), (X, (X[:, :2], X[:, 1:])), ["hx[0]", "hx[1]"]),
    "lstm": (lambda: torch.nn.LSTM(3, 2), (X[:, None],), ["weight_ih_l0", "input"]),
    "embedding": (lambda: torch.nn.Embedding(5, 2), (np.array([0, 1, 1]),), ["weight"]),
    "batch norm": (lambda: torch.nn.BatchNorm1d(3), (X,), ["weight", "bias", "input"]),
    "in evaluation": (lambda: torch.nn.BatchNorm1d(3).eval(), (X,), ["weight", "bias", "input"]),
    "drawn": (
        lambda: torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()),
        (inputs(x="n 3"),),
        ["0.weight", "x"],
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_checked_with_their_parameters_and_left_as_they_were(name):
    make, given, among = MODULES[name]
    module = make()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    report = tn.check_gradients(module, *given, seed=0, budget="quick")
    assert report.verdict is Verdict.PASSED
    assert {*among} <= {argument.name for argument in report.arguments}
    for key, value in module.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_module_whose_parameter_is_detached_is_wrong():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * self.w.detach() * self.w

    with pytest.raises(GradientMismatch, match="the gradient of w is wrong"):
        tn.check_gradients(Layer(), X, seed=0)
    with pytest.raises(TypeError, match="check_gradients takes functions"):
        tn.check_module(Layer(), X)


def test_functions_of_tensors_are_tried_with_our_tensors_first():
    functional = torch.nn.functional
    assert tn.check_gradients(functional.gelu, X, seed=0).verdict is Verdict.PASSED
    report = tn.check_gradients(functional.cross_entropy, X, np.array([0, 2, 1, 1]), seed=0)
    assert [argument.name for argument in report.arguments] == ["input"]
    report = tn.check_gradients(functional.cross_entropy, X, np.array([0, 2, 1, 1]), reduction="sum", seed=0)
    assert report.verdict is Verdict.PASSED
    kinds = []
    tn.check_gradients(lambda x: [kinds.append(type(x)), x * x][1], X, seed=0)
    assert {*kinds} == {tn.Tensor}
    with pytest.raises(GradientMismatch):
        tn.check_gradients(lambda x: torch.tanh(x) * torch.tanh(x.detach()), X, seed=0)
    with pytest.raises(GradientMismatch, match="zero everywhere"):
        tn.check_gradients(lambda x: torch.tanh(x.detach()), X, seed=0)
    # Several outputs, and those that are no floats.
    assert tn.check_gradients(lambda x: torch.max(x, dim=1), X, seed=0).verdict is Verdict.PASSED
    with pytest.raises(ZeroDivisionError):
        tn.check_gradients(lambda x: 1 // 0, X)
    with pytest.raises(ValueError, match="order must be 1"):
        tn.check_gradients(torch.tanh, X, order=2)


def test_torch_is_not_imported_by_a_check():
    code = (
        "import sys, numpy as np, tinygrad_norm as tn; tn.check_gradients(np.tanh, np.ones(2), seed=0); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
