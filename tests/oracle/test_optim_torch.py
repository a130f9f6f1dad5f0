"""Optimizers next to PyTorch's: the same gradients for fifty steps, and what both refuse."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

# What fifty steps add up to: a few roundings each.
TOLERANCE = {np.float64: 1e-13, np.float32: 2e-5}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("SGD", {"lr": 0.05, "momentum": m, "dampening": d, "weight_decay": w, "nesterov": n, "maximize": up})
        for m, d, w, n, up in itertools.product((0.0, 0.9), (0.0, 0.5), (0.0, 0.1), (False, True), (False, True))
        if not (n and (d or not m))
    ),
    *(
        (name, {"lr": lr, "weight_decay": w, "amsgrad": amsgrad, "maximize": up})
        for name, lr, w, amsgrad, up in itertools.product(
            ("Adam", "AdamW"), (1e-3, 0.05), (0.0, 0.1), (False, True), (False, True)
        )
    ),
    ("SGD", {}), ("Adam", {}), ("AdamW", {}), ("AdamW", {"betas": (0.5, 0.0), "eps": 1e-3}),
    ("Adam", {"betas": (0.0, 0.9)}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_fifty_steps_are_pytorchs(name, options, dtype):
    """Gradients of changing size; a parameter without one now and then; two groups."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape).astype(dtype) for shape in ((4, 3), (), (5,))]
    ours, theirs = [tn.nn.Parameter(v) for v in starts], [torch.nn.Parameter(torch.tensor(v)) for v in starts]
    mine, other = (
        kind([{"params": ps[:2]}, {"params": ps[2], "lr": 0.02, "weight_decay": 0.03}], **options)
        for kind, ps in ((getattr(tn.optim, name), ours), (getattr(torch.optim, name), theirs))
    )
    for step in range(50):
        for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = (rng.normal(size=p.shape) * 10.0 ** rng.uniform(-3, 1)).astype(dtype)
            absent = k == 1 and step % 5 == 0
            p.grad, q.grad = (None, None) if absent else (tn.tensor(g), torch.tensor(g))
        mine.step()
        other.step()
        if step == 20:
            for optimizer in (mine, other):
                optimizer.param_groups[0]["lr"] *= 0.5
    for p, q, start in zip(ours, theirs, starts, strict=True):
        assert p.dtype == dtype
        assert not np.array_equal(p.data, start)
        scale = np.abs(q.detach().numpy()).max()
        assert_allclose(p.data, q.detach().numpy(), rtol=0, atol=TOLERANCE[dtype] * max(1.0, float(scale)))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_are_pytorchs(name):
    ours = getattr(tn.optim, name)([tn.nn.Parameter([1.0])])
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))])
    for option, value in ours.param_groups[0].items():
        if option != "params":
            assert theirs.param_groups[0][option] == value


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": -0.5}), ("SGD", {"momentum": -0.5}), ("SGD", {"weight_decay": -0.5}), ("SGD", {"nesterov": True}),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}), ("Adam", {"lr": -1.0}), ("Adam", {"eps": -1e-8}),
    ("Adam", {"betas": (1.0, 0.0)}), ("Adam", {"betas": (0.9, -0.1)}), ("Adam", {"weight_decay": -1}),
    ("AdamW", {"betas": (0.9, 1.0)}), ("AdamW", {"weight_decay": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_options_that_pytorch_refuses_are_refused(name, options):
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
        getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))], **options)
    with pytest.raises(ValueError, match="|".join(options)):
        getattr(tn.optim, name)([tn.nn.Parameter([1.0])], **options)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_parameters_that_pytorch_refuses_are_refused(name):
    for library, parameter, leaf in (
        (tn, tn.nn.Parameter, lambda: tn.tensor([1.0], requires_grad=True)),
        (torch, lambda v: torch.nn.Parameter(torch.tensor(v)), lambda: torch.ones(1, requires_grad=True)),
    ):
        make, p = getattr(library.optim, name), parameter([1.0])
        make([leaf()])
        for wrong, error in [
            (p, TypeError), ([1.0], TypeError), (["weight"], TypeError), ([], ValueError), ([p * 2], ValueError),
            ([{"params": p}, {"params": [p]}], ValueError),
        ]:  # fmt: skip
            with pytest.raises(error):
                make(wrong)
