"""The losses next to PyTorch's: values, gradients and second derivatives for every combination of arguments."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 4e-6}
REDUCTIONS = ["mean", "sum", "none"]
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])


def random(*shape: int, seed: Any = 0, dtype: Any = np.float64) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def assert_within(found: Any, expected: Any, factor: float = 1.0) -> None:
    value, exact = found.data, expected.detach().numpy(force=True)
    assert (value.shape, value.dtype) == (exact.shape, exact.dtype)
    tolerance, scale = factor * TOLERANCE[exact.dtype], np.abs(exact[np.isfinite(exact)]).max(initial=1e-300)
    np.testing.assert_allclose(value, exact, rtol=tolerance, atol=tolerance * float(scale))


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, factor: float = 1.0) -> None:
    """Of all floating inputs at once; the second derivative along random directions, the cotangent's included."""
    mine = [tn.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    assert_within(y, z)
    g = random(*y.shape, seed=1, dtype=y.dtype)
    mine.append(tn.tensor(g, requires_grad=True))
    other.append(torch.tensor(g, requires_grad=True))
    first = tn.grad(y, mine[:-1], mine[-1], create_graph=True)
    expected = torch.autograd.grad(z, other[:-1], other[-1], create_graph=True)
    for a, b in zip(first, expected, strict=True):
        assert_within(a, b, factor)
    directions = [random(*v.shape, seed=[2, k], dtype=v.dtype) for k, v in enumerate(first)]
    slopes = torch.autograd.grad(
        expected, other, [torch.tensor(v) for v in directions], allow_unused=True, materialize_grads=True
    )
    for a, b in zip(tn.grad(first, mine, directions), slopes, strict=True):
        assert_within(a, b, factor)


def of_torch(options: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.tensor(v) if isinstance(v, np.ndarray) else v for name, v in options.items()}


SHAPES = [(2, 3), (3,), (2, 3, 5), (2, 3, 5, 4), (2, 3, 2, 1, 2, 3)]


def labels_of(shape: tuple[int, ...], **options: Any) -> Any:
    """Labels of which one is ignored, where the options say so."""
    kept = shape[:1] + shape[2:] if len(shape) > 1 else ()
    labels = np.random.default_rng(3).integers(0, 3, kept)
    if (ignored := options.get("ignore_index")) not in (None, 1) and labels.ndim:
        labels[..., :1] = ignored
    return labels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@dtypes
def test_cross_entropy_of_labels(shape, reduction, dtype):
    for weighted, ignore, smoothing in itertools.product((False, True), ({}, 1, -1), (0.0, 0.15, 1.0)):
        options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        options |= {"weight": np.array([0.5, 2.0, 0.3], dtype)} if weighted else {}
        options |= {} if ignore == {} else {"ignore_index": ignore}
        labels = labels_of(shape, **options)
        if options.get("ignore_index") == 1 and (labels == 1).all():
            labels = labels * 0
        compare(
            lambda x, y=labels, o=options: tn.nn.cross_entropy(x, y, **o),
            lambda x, y=labels, o=options: torch.nn.functional.cross_entropy(x, torch.tensor(y), **of_torch(o)),
            random(*shape, dtype=dtype),
        )
        if not smoothing:
            del options["label_smoothing"]
            compare(
                lambda x, y=labels, o=options: tn.nn.nll_loss(x, y, **o),
                lambda x, y=labels, o=options: torch.nn.functional.nll_loss(x, torch.tensor(y), **of_torch(o)),
                random(*shape, dtype=dtype),
            )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@dtypes
def test_cross_entropy_of_probabilities(shape, reduction, dtype):
    axis = min(1, len(shape) - 1)
    p = np.exp(random(*shape, seed=5))
    p = (p / p.sum(axis=axis, keepdims=True)).astype(dtype)
    for weighted, smoothing in itertools.product((False, True), (0.0, 0.15)):
        options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        options |= {"weight": np.array([0.5, 2.0, 0.3], dtype)} if weighted else {}
        compare(
            lambda x, t, o=options: tn.nn.cross_entropy(x, t, **o),
            lambda x, t, o=options: torch.nn.functional.cross_entropy(x, t, **of_torch(o)),
            random(*shape, dtype=dtype), p,
        )  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_where_every_label_is_ignored(reduction, weighted, smoothing):
    """The mean is NaN, as PyTorch's; the gradient is 0."""
    x, labels = random(3, 4), np.full(3, -100)
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    options |= {"weight": random(4, seed=1) ** 2} if weighted else {}
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = tn.nn.cross_entropy(mine, labels, **options)
    z = torch.nn.functional.cross_entropy(other, torch.tensor(labels), **of_torch(options))
    np.testing.assert_array_equal(y.data, z.detach().numpy())
    y.backward(random(*y.shape))
    np.testing.assert_array_equal(mine.grad.data, np.zeros((3, 4)))


ELEMENTWISE: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}), ("l1_loss", {}), ("huber_loss", {}), ("huber_loss", {"delta": 0.3}), ("huber_loss", {"delta": 9}),
    ("smooth_l1_loss", {}), ("smooth_l1_loss", {"beta": 0.3}), ("smooth_l1_loss", {"beta": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
@pytest.mark.parametrize("shape", [(5, 10), ()])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@dtypes
def test_losses_of_differences(name, options, shape, reduction, dtype):
    compare(
        lambda x, t: getattr(tn.nn, name)(x, t, reduction=reduction, **options),
        lambda x, t: getattr(torch.nn.functional, name)(x, t, reduction=reduction, **options),
        random(*shape, dtype=dtype), random(*shape, seed=1, dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(15, 10), (), (10,)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@dtypes
def test_binary_cross_entropies(shape, reduction, dtype):
    t = np.asarray(1 / (1 + np.exp(-2 * random(*shape, seed=1)))).astype(dtype)
    for weighted, positive in itertools.product((None, shape[-1:], ()), (None, shape[-1:], ())):
        options: dict[str, Any] = {"reduction": reduction}
        options |= (
            {}
            if weighted is None
            else {"weight": np.exp(random(*weighted, seed=2, dtype=dtype), out=np.empty(weighted, dtype))}
        )
        more = (
            {}
            if positive is None
            else {"pos_weight": np.exp(random(*positive, seed=3, dtype=dtype), out=np.empty(positive, dtype))}
        )
        compare(
            lambda x, t, o=options | more: tn.nn.binary_cross_entropy_with_logits(x, t, **o),
            lambda x, t, o=options | more: torch.nn.functional.binary_cross_entropy_with_logits(x, t, **of_torch(o)),
            random(*shape, dtype=dtype), t,
        )  # fmt: skip
        if positive is None:
            # PyTorch adds 1e-12 to denominators of these gradients.
            p = np.asarray(np.random.default_rng(4).uniform(0.05, 0.95, shape)).astype(dtype)
            compare(
                lambda x, t, o=options: tn.nn.binary_cross_entropy(x, t, **o),
                lambda x, t, o=options: torch.nn.functional.binary_cross_entropy(x, t, **of_torch(o)),
                p, t, factor=1e4 if dtype is np.float64 else 10,
            )  # fmt: skip


def test_binary_cross_entropy_at_certainty():
    """PyTorch bounds the logarithms at -100, and so do we."""
    p, t = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1e-60]), np.array([0.0, 1.0, 0.0, 1.0, 0.4, 1.0])
    want = torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(t), reduction="none").numpy()
    np.testing.assert_allclose(tn.nn.binary_cross_entropy(p, t, reduction="none"), want, rtol=1e-13)


CLASSES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("CrossEntropyLoss", (), {}), ("CrossEntropyLoss", (np.array([0.5, 2.0, 1.0]),), {"label_smoothing": 0.1}),
    ("CrossEntropyLoss", (), {"ignore_index": 2, "reduction": "sum"}), ("NLLLoss", (), {"weight": np.ones(3)}),
    ("MSELoss", (), {"reduction": "sum"}), ("L1Loss", (), {"reduction": "none"}), ("HuberLoss", ("sum", 0.3), {}),
    ("SmoothL1Loss", (), {"beta": 0.5}), ("BCEWithLogitsLoss", (), {"pos_weight": np.array([3.0, 1.0, 2.0])}),
    ("BCEWithLogitsLoss", (np.array([3.0, 1.0, 2.0]),), {}), ("BCELoss", (), {"reduction": "none"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), CLASSES)
def test_losses_as_layers(name, args, options):
    ours = getattr(tn.nn, name)(*args, **options)
    theirs = getattr(torch.nn, name)(*of_torch(dict(enumerate(args))).values(), **of_torch(options))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    x = np.abs(random(4, 3)) % 1
    target = np.array([0, 1, 2, 1]) if name in ("CrossEntropyLoss", "NLLLoss") else np.abs(random(4, 3, seed=1)) % 1
    compare(
        lambda x: ours(x, target), lambda x: theirs(x, torch.tensor(target)), x, factor=1e4 if name == "BCELoss" else 1
    )
    assert not list(ours.parameters())


REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("cross_entropy", (random(3, 2), np.array([0, 1])), {}), ("cross_entropy", (random(3), np.array([0, 1, 1])), {}),
    ("cross_entropy", (random(3, 2), np.array([0, 1, 2])), {}), ("cross_entropy", (random(3, 2), random(3)), {}),
    ("cross_entropy", (random(3, 2), np.array([0, 1, 1])), {"weight": np.ones(3)}),
    ("cross_entropy", (random(3, 2), np.array([0, 1, 1])), {"reduction": "avg"}),
    ("cross_entropy", (random(3, 2), np.array([0, 1, 1])), {"label_smoothing": 1.5}),
    ("cross_entropy", (random(3, 2, 4), np.zeros((3, 5), int)), {}),
    ("huber_loss", (random(3), random(3)), {"delta": 0.0}), ("smooth_l1_loss", (random(3), random(3)), {"beta": -1.0}),
    ("mse_loss", (random(3), random(3)), {"reduction": "average"}),
    ("nll_loss", (random(3, 2), np.array([0, 5, 1])), {}),
    ("binary_cross_entropy", (np.array([1.5]), np.array([1.0])), {}),
    ("binary_cross_entropy", (np.array([np.nan]), np.array([1.0])), {}),
    ("binary_cross_entropy", (np.array([0.5, 0.5]), np.array([[1.0, 0.0]])), {}),
    ("binary_cross_entropy_with_logits", (np.array([0.5, 0.5]), np.array([[1.0, 0.0]])), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), REFUSED)
def test_what_pytorch_refuses_is_refused(name, args, options):
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        getattr(torch.nn.functional, name)(*(torch.tensor(a) for a in args), **of_torch(options))
    with pytest.raises((ValueError, TypeError)):
        getattr(tn.nn, name)(*args, **options)
