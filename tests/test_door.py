"""What norms check before they compute: what is refused, what is taken in which form, and what is recorded after."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm.engine.tensor import walk
from tinygrad_norm.norm import more

X = np.random.default_rng(0).standard_normal((3, 4, 2, 2))
GROUP_NORM = partial(tn.group_norm, num_groups=2)
PER_CHANNEL, PER_SAMPLE = X[0, :, 0, 0], X[:, :, 0, 0]


def masked(v: np.ndarray) -> Any:
    return np.ma.masked_array(v, mask=v > 0)


def calls_with(form: Callable[[np.ndarray], Any]) -> dict[str, Callable[[], Any]]:
    """Every argument that is an array, of every norm, alone in another form; named for the argument."""
    x, c, s = X, PER_CHANNEL, PER_SAMPLE
    positional = {
        "x": (
            (tn.batch_norm,), (tn.layer_norm, (4, 2, 2)), (tn.instance_norm,), (tn.group_norm, 2), (tn.rms_norm, 2),
            (tn.normalize, "n c ... -> c"), (tn.moments, "n c ... -> c"), (tn.local_response_norm, 3),
            (more.ghost_batch_norm, 3), (more.batch_renorm, c, c * c), (more.film, s, s),
            (more.conditional_batch_norm, s, s), (more.l2_normalize,), (more.scale_norm, 2.0),
        ),
        "content": ((more.adaptive_instance_norm, x),), "v": ((more.weight_norm, x[:, :1, :1, :1]),),
        "weight": ((more.weight_standardization,),),
    }  # fmt: skip
    found = {
        f"{name} of {f.__name__}": partial(f, form(x), *rest) for name in positional for f, *rest in positional[name]
    }
    norms = {
        "batch_norm": tn.batch_norm, "instance_norm": tn.instance_norm, "group_norm": GROUP_NORM,
        "ghost_batch_norm": partial(more.ghost_batch_norm, virtual_batch_size=3),
        "batch_renorm": partial(more.batch_renorm, running_mean=c, running_std=c * c),
    }  # fmt: skip
    for name, f in norms.items():
        found |= {f"{argument} of {name}": partial(f, x, **{argument: form(c)}) for argument in ("weight", "bias")}
    for f in (tn.layer_norm, tn.rms_norm):
        found[f"weight of {f.__name__}"] = partial(f, x, (2, 2), weight=form(x[0, 0]))
    return found | {
        "bias of layer_norm": partial(tn.layer_norm, x, (2, 2), bias=form(x[0, 0])),
        "mean of batch_norm": partial(tn.batch_norm, x, mean=form(c)),
        "var of batch_norm": partial(tn.batch_norm, x, var=form(c * c)),
        "running_mean of batch_renorm": partial(more.batch_renorm, x, form(c), c * c),
        "running_std of batch_renorm": partial(more.batch_renorm, x, c, form(c * c)),
        "gamma of film": partial(more.film, x, form(s), s),
        "beta of film": partial(more.film, x, s, form(s)),
        "style of adaptive_instance_norm": partial(more.adaptive_instance_norm, x, form(x)),
        "g of weight_norm": partial(more.weight_norm, x, form(x[:, :1, :1, :1])),
    }


CALLS = list(calls_with(np.asarray))


@pytest.mark.parametrize("call", CALLS)
def test_masked_arrays_are_refused_by_name(call: str) -> None:
    argument = call.partition(" of ")[0]
    with pytest.raises(TypeError, match=f"^{argument} is a masked array, and its mask would be lost; fill it"):
        calls_with(masked)[call]()


@pytest.mark.parametrize("call", CALLS)
def test_lists_are_arrays(call: str) -> None:
    found, expected = calls_with(np.ndarray.tolist)[call](), calls_with(np.asarray)[call]()
    assert type(found) is type(expected)
    assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("call", CALLS)
def test_tensors_give_what_arrays_give(call: str) -> None:
    found, expected = calls_with(tn.tensor)[call](), calls_with(np.asarray)[call]()
    for y, values in zip(found, expected, strict=True):
        assert isinstance(y, tn.Tensor)
        assert_array_equal(y.data, values, strict=True)


@pytest.mark.parametrize("norm", [tn.layer_norm, tn.rms_norm])
def test_a_shape_of_another_kind_is_refused_also_after_its_equal_was_taken(norm: Callable[..., Any]) -> None:
    x = np.arange(3.0).reshape(3, 1)
    norm(x, (1,))
    for wrong in (True, (True,), 1.0, (1.0,), (np.float64(1),)):
        with pytest.raises(ValueError, match="normalized_shape must be an integer"):
            norm(x, wrong)


def test_a_plain_number_as_the_length_promotes_nothing() -> None:
    assert more.scale_norm(X.astype(np.float32), 2.0).dtype == np.float32
    assert more.weight_norm(X.astype(np.float16), 2.0, dim=None).dtype == np.float16


@pytest.mark.parametrize("eps", [np.ones(2), np.ones((1, 1)), tn.tensor(1e-5), "1e-5", None])
@pytest.mark.parametrize(
    "norm", [tn.batch_norm, partial(tn.layer_norm, normalized_shape=2), partial(tn.group_norm, num_groups=2)]
)
def test_eps_is_one_number(norm: Callable[..., Any], eps: Any) -> None:
    with pytest.raises(TypeError, match="eps must be a real number"):
        norm(X, eps=eps)


# What is recorded, in which order.


def recorded(y: tn.Tensor) -> list[tuple[str, str | None]]:
    assert {tensor.node.scope.path[0].name for tensor in walk([y])} == {y.node.scope.path[0].name}
    return [(tensor.node.primitive.name, tensor.name) for tensor in reversed(walk([y]))]


STATISTICS = [
    ("mean", "μ"), ("broadcast_to", None), ("subtract", "x−μ"), ("square", None), ("mean", "σ²"), ("add", None),
    ("rsqrt", None), ("broadcast_to", None), ("multiply", None),
]  # fmt: skip
AFFINE = [
    ("reshape", None), ("reshape", None), ("broadcast_to", None), ("multiply", None), ("broadcast_to", None),
    ("add", "y"),
]  # fmt: skip


def test_the_graph_of_group_norm_is_the_textbooks() -> None:
    """Around the statistics stand the cast to their dtype and the split into groups, and γ and β after x̂."""
    x, weight, bias = (tn.tensor(v, True, np.float16) for v in (X, PER_CHANNEL, PER_CHANNEL))
    before, after = [("astype", None), ("reshape", None)], [("astype", None), ("reshape", "x̂")]
    assert recorded(tn.group_norm(x, 2, weight, bias)) == before + STATISTICS + after + AFFINE
    x, weight, bias = (tn.tensor(v, True, name=name) for v, name in ((X, "x"), (PER_CHANNEL, "γ"), (PER_CHANNEL, "β")))
    y = tn.batch_norm(x, weight=weight, bias=bias)
    assert recorded(y) == [*STATISTICS[:-1], ("multiply", "x̂"), *AFFINE]
    reshaped = [tensor.node.inputs[0].name for tensor in walk([y]) if tensor.node.primitive.name == "reshape"]
    assert reshaped == ["β", "γ"]


@pytest.mark.parametrize("shape", [(4,), (1, 4, 1, 1)])
def test_given_statistics_are_inputs_like_others(shape: tuple[int, ...]) -> None:
    mean, var = PER_CHANNEL.reshape(shape), (PER_CHANNEL**2 + 1).reshape(shape)
    report = tn.check_gradients(lambda x, mean, var: tn.batch_norm(x, mean=mean, var=var), X, mean, var, seed=0)
    assert report.largest_relative_error < 1e-10
    kept = (v.reshape(1, 4, 1, 1) for v in (mean, var))
    assert_allclose(tn.batch_norm(X, mean=mean, var=var), (X - next(kept)) / np.sqrt(next(kept) + 1e-5), rtol=1e-12)


def test_what_batch_renorm_corrects_by_is_no_part_of_the_graph() -> None:
    x, mean, std = (tn.tensor(v, True) for v in (X, PER_CHANNEL, PER_CHANNEL**2 + 1))
    y, batch_mean, batch_std = more.batch_renorm(x, mean, std, return_statistics=True)
    assert {name for name, _ in recorded(y)} == {name for name, _ in STATISTICS}
    assert y.requires_grad
    assert batch_mean.requires_grad
    assert batch_std.requires_grad
    for gradient in tn.grad(y, [mean, std], X):
        assert_array_equal(gradient.data, 0)
    r = np.clip(batch_std.data / std.data.reshape(4, 1, 1), 1 / 3, 3)
    dx = tn.grad(tn.batch_norm(x), x, X * r).data
    assert_allclose(tn.grad(y, x, X).data, dx, rtol=1e-12, atol=1e-15)
