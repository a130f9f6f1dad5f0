"""Norm: any pattern as a layer, next to the named layers and to a plain reading of its pattern."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from strategies import generators

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.norm.pattern import parse


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def parametrized(layer, seed=5):
    for k, p in enumerate(layer.parameters()):
        p.data = random(*p.shape, seed=[seed, k])
    return layer


# A Norm, a layer of the family that it must equal, and an input.
NAMED = {
    "batch": (lambda: nn.Norm("n c ... -> c", affine="c", c=4, track_running_stats=True, dtype=float),
              lambda: nn.BatchNorm2d(4, dtype=float), (3, 4, 2, 3)),
    "batch, by size": (lambda: nn.Norm("n c h w -> c", affine="c", c=4, momentum=None, track_running_stats=True,
                                       dtype=float),
                       lambda: nn.BatchNorm2d(4, momentum=None, dtype=float), (3, 4, 2, 3)),
    "layer": (lambda: nn.Norm("n t d -> n t", affine="d", d=5, dtype=float),
              lambda: nn.LayerNorm(5, dtype=float), (2, 3, 5)),
    "layer, two axes": (lambda: nn.Norm("... c d -> ...", affine="c d", c=3, d=5, dtype=float),
                        lambda: nn.LayerNorm((3, 5), dtype=float), (2, 3, 5)),
    "instance": (lambda: nn.Norm("n c ... -> n c", affine="c", c=4, track_running_stats=True, dtype=float),
                 lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True, dtype=float), (3, 4, 5)),
    "group": (lambda: nn.Norm("n (g c) ... -> n g", affine="(g c)", g=2, c=2, dtype=float),
              lambda: nn.GroupNorm(2, 4, dtype=float), (3, 4, 5)),
    "group, no bias": (lambda: nn.Norm("n (g c) ... -> n g", affine="(g c)", bias=False, g=2, c=2, dtype=float),
                       lambda: nn.GroupNorm(2, 4, bias=False, dtype=float), (3, 4, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_the_named_layers_are_patterns(name):
    """Outputs, gradients, and running statistics over two batches of different sizes; then eval mode."""
    make, make_named, shape = NAMED[name]
    layer, named = parametrized(make()), parametrized(make_named())
    for step, training in enumerate((True, True, False)):
        layer.train(training)
        named.train(training)
        x = random(shape[0] + step, *shape[1:], seed=step) * 2 + 1
        leaves = [tn.tensor(x, requires_grad=True) for _ in range(2)]
        outputs = [module(leaf) for module, leaf in zip((layer, named), leaves, strict=True)]
        assert_allclose(outputs[0].data, outputs[1].data, rtol=1e-13, atol=1e-13)
        g = random(*x.shape, seed=9)
        for y in outputs:
            y.backward(g)
        assert_allclose(leaves[0].grad.data, leaves[1].grad.data, rtol=1e-12, atol=1e-13)
        for mine, theirs in zip(layer.parameters(), named.parameters(), strict=True):
            assert mine.shape == theirs.shape
            assert_allclose(mine.grad.data, theirs.grad.data, rtol=1e-12, atol=1e-12)
        for key, value in named.state_dict().items():
            if not (key == "num_batches_tracked" and name == "instance"):  # which does not count, as in PyTorch
                assert_allclose(layer.state_dict()[key], value, rtol=1e-13)


def test_a_ghost_batch_norm_is_a_pattern_too():
    layer = nn.Norm("(v n) c -> v c", n=2, affine="c", track_running_stats=True, momentum=1.0, dtype=float)
    x = random(6, 3)
    y = layer(x).data
    for part in range(3):
        rows = slice(2 * part, 2 * part + 2)
        assert_allclose(y[rows], nn.BatchNorm1d(3, dtype=float)(x[rows]).data, rtol=1e-12)
    # Running statistics are averages over what comes from the batch axis.
    assert_allclose(layer.running_mean, x.mean(axis=0), rtol=1e-13)
    assert_allclose(layer.running_var, x.reshape(3, 2, 3).var(axis=1, ddof=1).mean(axis=0), rtol=1e-13)


def test_affine_c_in_groups_is_shared_by_the_groups():
    x, weight = random(2, 6, 3), random(3, seed=1)
    shared = nn.Norm("n (g c) ... -> n g", g=2, c=3, affine="c", bias=False, dtype=float)
    shared.weight.data = weight
    own = nn.Norm("n (g c) ... -> n g", g=2, c=3, affine="(g c)", bias=False, dtype=float)
    own.weight.data = np.tile(weight, 2)
    assert (shared.weight.shape, own.weight.shape) == ((3,), (6,))
    assert_allclose(shared(x).data, own(x).data, rtol=1e-14)
    g = random(2, 6, 3, seed=2)
    shared(x).backward(g)
    own(x).backward(g)
    assert_allclose(shared.weight.grad.data, own.weight.grad.data.reshape(2, 3).sum(axis=0), rtol=1e-12)


AXES = "abcd"


@st.composite
def choices(draw):
    """A pattern over up to four axes of a drawn shape, one of them perhaps split, and axes for the affine step."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=3))
    names = list(AXES[: len(shape)])
    split = draw(st.none() | st.integers(0, len(shape) - 1))
    left, sizes, flat, lengths = [], [], [], {}
    for i, (name, size) in enumerate(zip(names, shape, strict=True)):
        if i == split:
            left.append(f"({name}0 {name}1)")
            flat += [f"{name}0", f"{name}1"]
            sizes += [size, 2]
            lengths = {f"{name}1": 2}
        else:
            left.append(name)
            flat.append(name)
            sizes.append(size)
    reduced = draw(st.sets(st.sampled_from(flat), min_size=1))
    kept = draw(st.permutations([name for name in flat if name not in reduced]))
    affine = [name for name in flat if draw(st.booleans())]
    full = tuple(2 * size if i == split else size for i, size in enumerate(shape))
    return full, f"{' '.join(left)} -> {' '.join(kept)}", lengths, flat, sizes, reduced, affine


@given(case=choices(), rng=generators)
def test_any_pattern_is_what_numpy_makes_of_its_axes(case, rng):
    """Sizes are learned at the first call; output and gradients next to a plain composition on the written-out axes."""
    shape, pattern, lengths, flat, sizes, reduced, affine = case
    layer = nn.Norm(pattern, affine=" ".join(affine), eps=1e-3, dtype=float, **lengths)
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    layer(x)
    parameter = tuple(size for name, size in zip(flat, sizes, strict=True) if name in affine)
    assert layer.weight.shape == layer.bias.shape == parameter
    layer.weight.data, layer.bias.data = rng.normal(size=parameter), rng.normal(size=parameter)
    leaf = tn.tensor(x, requires_grad=True)
    y = layer(leaf)
    y.backward(g)
    axes = tuple(i for i, name in enumerate(flat) if name in reduced)
    beside = [size if name in affine else 1 for name, size in zip(flat, sizes, strict=True)]

    def plain(x, weight, bias):
        values = x.reshape(sizes)
        centred = values - values.mean(axis=axes, keepdims=True)
        x_hat = centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + 1e-3)
        return (x_hat * weight.reshape(beside) + bias.reshape(beside)).reshape(shape)

    want, pullback = tn.vjp(plain, x, layer.weight.data, layer.bias.data)
    assert_allclose(y.data, want, rtol=1e-12, atol=1e-12)
    for found, expected in zip((leaf, layer.weight, layer.bias), pullback(g), strict=True):
        assert_allclose(found.grad.data, expected, rtol=1e-10, atol=1e-10)


def test_sizes_that_are_not_given_are_learned_at_the_first_call():
    layer = nn.Norm("n (g c) ... -> n g", g=8, affine="(g c)", track_running_stats=False)
    for ask in (lambda: list(layer.parameters()), layer.state_dict, lambda: layer.load_state_dict({}), layer.zero_grad):
        with pytest.raises(ValueError, match=r"the size of 'c' is unknown.*give the size, such as c=64"):
            ask()
    with pytest.raises(ValueError, match="has no parameters and no state yet"):
        tn.optim.SGD(nn.Sequential(nn.Linear(2, 2), layer).parameters())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(random(2, 16, 3)).shape == (2, 16, 3)
        assert [(name, p.shape) for name, p in twin.named_parameters()] == [("weight", (16,)), ("bias", (16,))]
    assert layer.weight is None
    assert nn.Norm("n c -> n").state_dict() == {}


def test_sizes_that_are_known_make_parameters_at_once():
    layer = nn.Norm("n (g c) ... -> n g", g=2, c=3, affine="(g c)", track_running_stats=True)
    assert {key: (v.shape, v.dtype.name) for key, v in layer.state_dict().items()} == {
        "weight": ((6,), "float32"), "bias": ((6,), "float32"), "running_mean": ((2,), "float32"),
        "running_var": ((2,), "float32"), "num_batches_tracked": ((), "int64"),
    }  # fmt: skip
    assert nn.Norm("n c -> c", affine="c", c=3, bias=False).bias is None
    assert nn.Norm("n c -> c", affine="").weight.shape == ()
    spatial = nn.Norm("n ... c -> n", affine="... c")
    spatial(random(2, 4, 5, 3))
    assert spatial.weight.shape == (4, 5, 3)


def test_another_size_than_the_parameters_have_is_refused():
    layer = nn.Norm("n c ... -> c", affine="c", track_running_stats=True)
    layer(random(2, 3, 4))
    layer(random(5, 3, 2))
    with pytest.raises(ValueError, match=r"has c of shape \(3,\), .* the input shape \(2, 4, 3\)"):
        layer(random(2, 4, 3))
    with pytest.raises(ValueError, match="c=3"):
        nn.Norm("n c -> c", c=3)(random(2, 4))


WRONG = [
    ({"pattern": "n c -> k"}, "axis 'k' is kept but is not on the left", "n c -> k\n         ^"),
    ({"pattern": "n c -> c", "affine": "k"}, "affine 'k': 'k' is not an axis of 'n c -> c'", "k\n  ^"),
    ({"pattern": "n c h -> c", "affine": "h c"}, "affine 'h c': axis 'c' is not in the order of", "h c\n    ^"),
    ({"pattern": "n c h -> c", "affine": "c c"}, "affine 'c c': axis 'c' occurs twice", "c c\n    ^"),
    ({"pattern": "n c h -> c", "affine": "(c"}, "'(' is not closed", "(c\n  ^"),
    ({"pattern": "n c -> c", "g": 2}, "a length is given for 'g'", "n c -> c\n  ^^^"),
    ({"pattern": "n c -> c", "c": 0}, "the length of axis 'c' must be a positive integer", "n c -> c\n    ^"),
    ({"pattern": "n c -> c", "eps": -1.0}, "eps", ""),
    ({"pattern": "n c -> c", "eps": np.nan}, "eps", ""),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words", "pointer"), WRONG)
def test_errors_quote_the_pattern_and_point_at_the_axis(arguments, words, pointer):
    pattern, options = arguments["pattern"], {k: v for k, v in arguments.items() if k != "pattern"}
    with pytest.raises(ValueError, match=r".") as caught:
        nn.Norm(pattern, **options)
    assert words in str(caught.value)
    assert pointer in str(caught.value)


def test_other_errors():
    with pytest.raises(
        TypeError, match="affine must be a string with axes of the pattern, such as affine='c', not True"
    ):
        nn.Norm("n c -> c", affine=True)
    with pytest.raises(TypeError, match="floating input, not int64"):
        nn.Norm("n c -> c")(np.ones((2, 3), int))
    with pytest.raises(TypeError, match="stats_dtype"):
        nn.Norm("n c -> c", stats_dtype=int)(random(2, 3))
    with pytest.raises(ValueError, match=r"more than one value for each mean .*\(1, 3\), over axes \(0,\)"):
        nn.Norm("n c -> c", track_running_stats=True)(random(1, 3))
    assert_array_equal(nn.Norm("n c -> c")(random(1, 3)).data, np.zeros((1, 3)))


@pytest.mark.parametrize("pattern", ["n c -> c", "n  (g  c) x -> n", "(a b) c -> a", "aa a ... -> aa"])
def test_a_pointer_stands_under_the_axis_it_is_about(pattern):
    """Whatever the spacing, the carets of an error about an axis stand exactly under its name."""
    for axis in parse(pattern).input_axes:
        with pytest.raises(ValueError, match="reason") as caught:
            parse(pattern).fail("reason", *axis)
        _, text, carets = str(caught.value).split("\n")
        pointed = "".join(a for a, b in zip(text, carets, strict=False) if b == "^")
        assert pointed.strip("()").split() == list(axis)


def test_repr_says_in_words_what_is_shared():
    layer = nn.Norm("n c h w -> c", affine="c", track_running_stats=True)
    assert repr(layer) == (
        "Norm('n c h w -> c', affine='c', eps=1e-05, track_running_stats=True: one mean and variance per c)"
    )
    layer(random(4, 3, 8, 8))
    assert repr(layer).endswith("one mean and variance per c; 4 × 8 × 8 = 256 values each)")


def test_statistics_are_left_alone_by_checks_and_by_empty_batches():
    layer = nn.Norm("n c ... -> c", affine="c", track_running_stats=True, c=3, dtype=float)
    layer(random(4, 3))
    before = layer.state_dict()
    tn.check_gradients(layer, random(4, 3, seed=1), seed=0)
    assert layer(np.zeros((0, 3))).shape == (0, 3)
    layer.eval()(random(1, 3))
    for key, value in layer.state_dict().items():
        assert_array_equal(value, before[key])
    layer.reset_running_stats()
    assert_array_equal(layer.running_var, np.ones(3))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_and_stats_dtype(dtype):
    """V01: float64 statistics of float32 input lose nothing; the output keeps the input's dtype."""
    x = (1e4 + np.arange(16) * 1e-3 * (8000 if dtype == np.float16 else 1)).astype(dtype).reshape(1, 16)
    layer = nn.Norm("n d -> n", stats_dtype=np.float64)
    exact = tn.layer_norm(x.astype(np.float64), 16)
    y = layer(x)
    assert y.dtype == dtype
    assert np.abs(y.data - exact).max() <= 1e-5 + 2 * np.finfo(dtype).eps
    named = nn.LayerNorm(16, elementwise_affine=False, stats_dtype=np.float64)(x)
    assert_array_equal(named.data, y.data)
    assert nn.Norm("n d -> n", affine="d")(x).dtype == np.promote_types(dtype, np.float32)


# What a call that fails leaves behind, and names.


@pytest.mark.parametrize("wrong", [np.zeros((1, 3)), np.zeros((2, 3, 1)), np.zeros((2, 3), int)])
def test_a_call_that_fails_teaches_no_sizes(wrong):
    layer = nn.Norm("n c -> c", affine="c", track_running_stats=True)
    with pytest.raises((ValueError, TypeError)):
        layer(wrong)
    with pytest.raises(ValueError, match="no state yet, because the size of 'c' is unknown"):
        layer.state_dict()
    layer(random(4, 5))
    assert layer.weight.shape == (5,)


def test_buffers_of_unknown_size_are_asked_for_in_vain_as_parameters_are():
    layer = nn.Norm("n c -> c", track_running_stats=True)
    for ask in (layer.named_buffers, layer.named_parameters):
        with pytest.raises(ValueError, match="no state yet, because the size of 'c' is unknown"):
            list(ask())


def test_tracking_asks_for_the_batch_by_name():
    with pytest.raises(
        ValueError, match=r"averaged over the batch, but '\.\.\.' .*; name the first axis, as in 'n \.\.\.'"
    ):
        nn.Norm("... c -> ...", track_running_stats=True)
    nn.Norm("... c -> ...")
    # Nothing that is tracked comes from the dots here: channels last, of any rank.
    layer, x = nn.Norm("... c -> c", track_running_stats=True, momentum=1.0, dtype=float), random(4, 5, 3)
    layer(x)
    assert_allclose(layer.running_mean, x.mean(axis=(0, 1)), rtol=1e-13)


@pytest.mark.parametrize("name", ["affine", "bias", "eps", "momentum", "track_running_stats", "stats_dtype", "dtype"])
def test_an_axis_is_not_called_like_an_argument(name):
    with pytest.raises(ValueError, match=f"'{name}' is the name of an argument; rename the axis"):
        nn.Norm(f"n {name} -> n")


def test_lengths_may_be_called_pattern_and_be_numpy_s():
    layer = nn.Norm("n (pattern self) -> n pattern", pattern=np.int64(2), self=3, affine="self")
    assert repr(layer).startswith("Norm('n (pattern self) -> n pattern', pattern=2, self=3")
    assert layer(random(4, 6)).shape == (4, 6)
