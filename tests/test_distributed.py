"""Batch norm over ranks is batch norm of the whole batch. Threads play the ranks here; test_mpi has real processes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn
from tests.sync_cases import SHARDS, difference, draws, in_one_process, leaf, on_rank, on_ranks, parts, trained
from tinygrad_norm import distributed
from tinygrad_norm.distributed import CollectiveError, Comm, SelfComm, ThreadComm, norms

EXACT = 1e-12
shards = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1)


# Equal to one process.


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
@pytest.mark.parametrize("sizes", SHARDS)
def test_outputs_and_gradients_of_both_orders(sizes: list[int], shape: tuple[int, ...]) -> None:
    given = draws((sum(sizes), *shape))
    assert difference(in_one_process(given), on_ranks(given, sizes)) < EXACT


@given(shards, st.integers(1, 3), st.sampled_from([(), (1,), (3,), (2, 2)]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_any_shards(sizes: list[int], channels: int, space: tuple[int, ...], seed: int) -> None:
    given = draws((sum(sizes), channels, *space), seed)
    # Two values in all give x̂ = ±1, whose gradient is the small difference of large terms.
    tolerance = EXACT if sum(sizes) * np.prod(space, dtype=int) > 2 else 1e-9
    assert difference(in_one_process(given, 1e-3), on_ranks(given, sizes, 1e-3)) < tolerance


@pytest.mark.parametrize("sizes", SHARDS)
def test_twenty_steps_of_training(sizes: list[int]) -> None:
    alone = trained(SelfComm(), [sum(sizes)])
    ranks = ThreadComm.run(len(sizes), lambda comm: trained(comm, sizes))
    for name, values in alone.items():
        for rank in ranks:
            np.testing.assert_allclose(rank[name], values, rtol=EXACT, atol=EXACT, err_msg=name)
            assert rank[name].tobytes() == ranks[0][name].tobytes(), name
    assert alone["losses"][-1] < 0.95 * alone["losses"][0]


@pytest.mark.parametrize("sizes", SHARDS)
def test_running_statistics_are_equal_bit_for_bit(sizes: list[int]) -> None:
    x = draws((sum(sizes), 3, 5))["x"].astype(np.float32)
    plain = tn.nn.BatchNorm1d(3)
    plain(x)

    def rank(comm: Comm) -> dict[str, Any]:
        layer = distributed.SyncBatchNorm(3, comm=comm)
        layer(x[parts(sizes)[comm.rank]])
        return layer.state_dict()

    states = ThreadComm.run(len(sizes), rank)
    for name, values in plain.state_dict().items():
        assert {state[name].tobytes() for state in states} == {states[0][name].tobytes()}
        np.testing.assert_allclose(states[0][name], values, rtol=1e-6)


def test_finite_differences_of_the_summed_loss() -> None:
    """The objective is the sum of the ranks' losses: a step of one rank's sample moves all of them."""
    sizes, given = [1, 3, 2], draws((6, 2), seed=4)

    def objective(x: Any) -> float:
        def rank(comm: Comm) -> float:
            mine = parts(sizes)[comm.rank]
            return float((distributed.sync_batch_norm(x[mine], comm, weight=given["gamma"]) * given["g"][mine]).sum())

        return sum(ThreadComm.run(3, rank))

    def slopes(comm: Comm) -> Any:
        mine = parts(sizes)[comm.rank]
        x = leaf(given["x"][mine])
        comm.backward(distributed.sync_batch_norm(x, comm, weight=given["gamma"]), given["g"][mine])
        return x.grad.data

    found = np.concatenate(ThreadComm.run(3, slopes))
    for i in np.ndindex(6, 2):
        step = np.zeros((6, 2))
        step[i] = 1e-5
        central = (objective(given["x"] + step) - objective(given["x"] - step)) / 2e-5
        assert abs(found[i] - central) < 1e-8


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_dtypes(dtype: Any) -> None:
    given = draws((8, 3, 4))
    x = given["x"].astype(dtype)
    expected = tn.batch_norm(x)

    def rank(comm: Comm) -> Any:
        return distributed.sync_batch_norm(x[parts([3, 0, 5])[comm.rank]], comm)

    y = np.concatenate(ThreadComm.run(3, rank))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=2e-3 if dtype == np.float16 else 2e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_large_offsets_cancel_no_more_than_in_one_process(offset: float) -> None:
    given = draws((8, 3))
    x = (given["x"] + offset).astype(np.float32)
    exact = tn.batch_norm(x.astype(np.float64))
    y = np.concatenate(
        ThreadComm.run(3, lambda comm: distributed.sync_batch_norm(x[parts([3, 0, 5])[comm.rank]], comm))
    )
    assert abs(y - exact).max() <= 2 * abs(tn.batch_norm(x) - exact).max() + 1e-6


@pytest.mark.parametrize("sizes", [[8], [3, 0, 5]])
def test_complex_values(sizes: list[int]) -> None:
    """As a checker takes a complex step."""
    given = draws((8, 3))
    z = given["x"] + 1j * given["v"]
    y = ThreadComm.run(len(sizes), lambda comm: distributed.sync_batch_norm(z[parts(sizes)[comm.rank]], comm))
    np.testing.assert_allclose(np.concatenate(y), tn.batch_norm(z), rtol=EXACT)


def test_statistics_are_equal_though_an_empty_part_has_another_dtype() -> None:
    def rank(comm: Comm) -> Any:
        layer = distributed.SyncBatchNorm(3, comm=comm)
        for seed in range(3):
            x = np.random.default_rng(seed).normal(5, 1, (8, 3)).astype(np.float32)
            layer(x if comm.rank == 0 else np.zeros((0, 3)))
        distributed.check_equal(layer, comm)

    ThreadComm.run(2, rank)


def test_any_layout_in_memory() -> None:
    given, sizes = draws((8, 3, 4)), [3, 5]
    turned = {name: np.asfortranarray(a) if name in "xg" else a[::-1][::-1] for name, a in given.items()}
    assert difference(in_one_process(given), on_ranks(turned, sizes)) < EXACT


# Other patterns.


@pytest.mark.parametrize(
    ("pattern", "lengths"),
    [("n c ... -> c", {}), ("n c l -> ", {}), ("n (g c) l -> g", {"g": 2}), ("n c l -> c l", {}), ("... l -> l", {})],
)
def test_patterns_that_keep_no_sample_axis(pattern: str, lengths: dict[str, int]) -> None:
    given = draws((6, 4, 3))
    x = leaf(given["x"])
    y = tn.normalize(x, pattern, **lengths)
    y.backward(given["g"])

    def rank(comm: Comm) -> Any:
        mine = parts([1, 0, 5])[comm.rank]
        part = leaf(given["x"][mine])
        y = distributed.sync_normalize(part, pattern, comm, **lengths)
        comm.backward(y, given["g"][mine])
        return y.data, part.grad.data

    results = ThreadComm.run(3, rank)
    for found, expected in zip(zip(*results, strict=True), (y.data, x.grad.data), strict=True):
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("pattern", ["n c -> n", "n c -> n c", "(v n) c -> v c", "... c -> ...", "(v n) c -> n c"])
def test_patterns_that_keep_samples_apart_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is kept: each sample has its own statistics"):
        distributed.sync_normalize(np.ones((4, 2)), pattern, SelfComm(), **({"v": 2} if "v" in pattern else {}))


# What others got wrong. Each of these is a way to be different from one process; the tests above see it.


def _unweighted(self: Any, values: Any, axes: Any) -> Any:
    """The mean of the ranks' means."""
    own = tn.ops.mean(values, axes, keepdims=True) if values.size else tn.ops.sum(values, axes, keepdims=True)
    self.count = 2
    return distributed.allreduce_sum(own, self.comm) / self.comm.size


def _local_count(self: Any, values: Any, axes: Any) -> Any:
    """The sum over all ranks, divided by what this rank has times the number of ranks."""
    total = distributed.allreduce_sum(tn.ops.sum(values, axes, keepdims=True), self.comm)
    self.count = max(values.size // values.shape[1], 1) * self.comm.size
    return total / self.count


def _detached(self: Any, values: Any, axes: Any) -> Any:
    """Statistics without a gradient over ranks: each rank's gradient flows through its own part alone."""
    own = tn.ops.sum(values, axes, keepdims=True)
    others = distributed.allreduce_sum(own.data, self.comm) - own.data
    if self.count < 0:
        shape = values.shape
        count = shape[0] * int(np.prod(shape[2:]))
        self.count = int(self.comm.allreduce(np.array([float(count)])).item())
    return (own + others) / self.count


def _squares(self: Any, values: Any, axes: Any) -> Any:
    """A count that is held in float16."""
    mean = _right(self, values, axes)
    return mean * self.count / float(np.float16(self.count))


_right = norms.SharedMean.__call__
WRONG: dict[str, Callable[..., Any]] = {
    "unweighted": _unweighted,
    "divided by a local count": _local_count,
    "detached": _detached,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_average_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = draws((8, 3))
    monkeypatch.setattr(norms.SharedMean, "__call__", WRONG[name])
    assert difference(in_one_process(given), on_ranks(given, [1, 7])) > 1e-3


def test_a_count_in_float16_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    given = draws((2049, 1))
    assert difference(in_one_process(given), on_ranks(given, [2000, 49])) < EXACT
    monkeypatch.setattr(norms.SharedMean, "__call__", _squares)
    assert difference(in_one_process(given), on_ranks(given, [2000, 49])) > 1e-5


def test_gradients_of_parameters_are_added_up_once() -> None:
    """γ and β get this rank's part from the norm; the sum is taken once, with all other parameters."""
    given, sizes = draws((8, 3)), [3, 0, 5]
    expected = in_one_process(given)

    def rank(comm: Comm) -> Any:
        mine = parts(sizes)[comm.rank]
        layer = distributed.SyncBatchNorm(3, dtype=np.float64, comm=comm)
        layer.weight.data, layer.bias.data = given["gamma"], given["beta"]
        comm.backward(layer(given["x"][mine]), given["g"][mine])
        own = layer.weight.grad.data
        distributed.allreduce_gradients(layer.parameters(), comm)
        return own, layer.weight.grad.data, layer.bias.grad.data

    results = ThreadComm.run(3, rank)
    assert not results[1][0].any()  # it has no samples
    for _, dgamma, dbeta in results:
        np.testing.assert_allclose(dgamma, expected["dgamma"], rtol=EXACT)
        np.testing.assert_allclose(dbeta, expected["dbeta"], rtol=EXACT)


def test_one_value_on_a_rank_is_enough_and_one_in_all_is_not() -> None:
    x = np.array([[1.0], [3.0]])
    y = ThreadComm.run(2, lambda comm: distributed.sync_batch_norm(x[[comm.rank]], comm, eps=0).item())
    assert y == [-1.0, 1.0]
    with pytest.raises(ValueError, match="several values for each mean, but all 3 processes together have only one"):
        ThreadComm.run(3, lambda comm: distributed.sync_batch_norm(x[: comm.rank == 1], comm))


def test_a_batch_that_is_empty_on_every_rank() -> None:
    def rank(comm: Comm) -> Any:
        layer = distributed.SyncBatchNorm(2, comm=comm)
        x = leaf(np.zeros((0, 2), np.float32))
        y = layer(x)
        comm.backward(y, np.zeros((0, 2)))
        return y.shape, x.grad.shape, int(layer.num_batches_tracked)

    assert ThreadComm.run(2, rank) == [((0, 2), (0, 2), 0)] * 2


# Ranks that differ in what they use.


def test_an_input_that_needs_no_gradient_on_one_rank() -> None:
    def rank(comm: Comm) -> Any:
        x = tn.tensor([1.0 + comm.rank], requires_grad=comm.rank != 1)
        y = distributed.allreduce_sum(x, comm)
        assert y.requires_grad
        comm.backward(y * (comm.rank + 1.0), [1.0])
        return None if x.grad is None else x.grad.item()

    assert ThreadComm.run(3, rank) == [6.0, None, 6.0]


def test_an_array_on_one_rank() -> None:
    def rank(comm: Comm) -> Any:
        x = leaf(np.ones(2)) if comm.rank else np.ones(2)
        y = distributed.allreduce_sum(x, comm)
        comm.backward((y * y).sum())
        return x.grad.data.tolist() if comm.rank else None

    assert ThreadComm.run(2, rank) == [None, [8.0, 8.0]]


def test_arrays_everywhere_stay_arrays() -> None:
    total = ThreadComm.run(2, lambda comm: distributed.allreduce_sum(np.float32([comm.rank + 0.5]), comm))
    assert all(type(y) is np.ndarray and y.dtype == np.float32 and y == 2 for y in total)


def test_a_result_that_one_rank_does_not_use() -> None:
    def rank(comm: Comm) -> Any:
        x = leaf([2.0])
        y, z = distributed.allreduce_sum(x, comm), distributed.allreduce_sum(x * x, comm)
        comm.backward([y.sum(), z.sum(), None][comm.rank])
        return x.grad.item()

    assert ThreadComm.run(3, rank) == [1 + 4.0] * 3


def test_plain_backward_does_where_every_rank_uses_everything() -> None:
    def rank(comm: Comm) -> Any:
        x = leaf([1.0, comm.rank])
        (distributed.allreduce_sum(x, comm) ** 2).sum().backward()
        return x.grad.data.tolist()

    assert ThreadComm.run(2, rank) == [[8.0, 4.0]] * 2


def test_second_derivatives_where_one_rank_uses_nothing() -> None:
    """d/dx of the slope of y² at y = x0 + x1, of which only rank 0 has anything."""

    def rank(comm: Comm) -> Any:
        x = leaf([1.0 + comm.rank])
        y = distributed.allreduce_sum(x, comm)
        loss = (y**3).sum() if comm.rank == 0 else y.sum() * 0
        slope = comm.grad(loss, x, create_graph=True)
        comm.backward(slope.sum() if comm.rank == 1 else None)
        return slope.item(), x.grad.item()

    assert ThreadComm.run(2, rank) == [(27.0, 18.0)] * 2


def test_nothing_is_recorded_without_need() -> None:
    def rank(comm: Comm) -> Any:
        x = leaf([1.0])
        with tn.no_grad():
            y = distributed.allreduce_sum(x, comm)
        return y.requires_grad, len(comm._recorded)

    assert ThreadComm.run(2, rank) == [(False, 0)] * 2


# What no rank uses has no gradient, as in one process.


def _two_heads(comm: Comm | None, optimizer: str) -> Any:
    """Train two heads in alternate steps, on two of four samples on each of two ranks, or on all of them."""
    x = np.random.default_rng(0).standard_normal((4, 2))
    model = tn.nn.ModuleList([tn.nn.BatchNorm1d(2, dtype=np.float64) for _ in range(2)])
    mine = slice(None) if comm is None else parts([1, 3])[comm.rank]
    if comm is not None:
        distributed.convert_sync_batch_norm(model, comm)
    steps = getattr(tn.optim, optimizer)(model.parameters(), lr=0.1, weight_decay=0.5)
    for step in range(4):
        heads = [head(x[mine] ** (i + 1)) for i, head in enumerate(model)]
        loss = (heads[step % 2] ** 3 * x[mine]).sum()
        model.zero_grad()
        if comm is None:
            loss.backward()
        else:
            comm.backward(loss)
            distributed.allreduce_gradients(model.parameters(), comm)
            assert model[1 - step % 2].weight.grad is None
        steps.step()
    return model.state_dict()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_head_that_a_step_does_not_use(optimizer: str) -> None:
    expected = _two_heads(None, optimizer)
    for state in ThreadComm.run(2, lambda comm: _two_heads(comm, optimizer)):
        for key, values in expected.items():
            np.testing.assert_allclose(state[key], values, rtol=1e-10, atol=1e-10, err_msg=key)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_step_that_is_skipped_leaves_nothing_behind() -> None:
    def rank(comm: Comm) -> Any:
        w = leaf(2.0)
        for x in (np.array([[np.inf], [1.0]]), np.array([[1.0], [4.0]])):
            y = distributed.sync_batch_norm(w * x[[comm.rank]], comm, eps=1.0)
            loss = (y**2).sum() * (1.0 + comm.rank)
            if np.isfinite(comm.allreduce(np.array([loss.item()]))).all():
                comm.backward(loss)
        return w.grad.item()

    w = leaf(2.0)
    (tn.batch_norm(w * np.array([[1.0], [4.0]]), eps=1.0) ** 2 * np.array([[1.0], [2.0]])).sum().backward()
    assert sum(ThreadComm.run(2, rank)) == pytest.approx(w.grad.item(), rel=1e-12)


def test_what_was_forgotten_does_not_stand_in_the_way_of_second_derivatives() -> None:
    comm, x = SelfComm(), draws((4, 3))["x"]
    w = leaf(np.eye(3) + 0.1)

    def f(x: Any) -> Any:
        return distributed.sync_batch_norm(distributed.sync_batch_norm(x @ w, comm) @ w, comm)

    f(x)
    w.data = w.data * 0.9
    given = leaf(x)
    slope = comm.grad((f(given) ** 3).sum(), given, create_graph=True)
    plain = tn.batch_norm(tn.batch_norm(given @ w) @ w)
    np.testing.assert_allclose(slope.data, tn.grad((plain**3).sum(), given).data, rtol=1e-9, atol=1e-12)
    comm.forget()
    assert not comm._recorded


def test_repeated_gradients_of_gradients_add_what_each_needs() -> None:
    comm, x = SelfComm(), leaf(draws((4, 3))["x"])
    y = distributed.sync_batch_norm(x, comm)
    counts = []
    for power in range(2, 8):
        comm.grad((y**power).sum(), x, create_graph=True)
        counts.append(len(comm._recorded))
    assert counts == [4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize("how", ["backward of comm", "plain backward", "grad"])
def test_graphs_are_freed(how: str) -> None:
    comm = SelfComm()
    x = leaf([1.0])
    y = distributed.allreduce_sum(x * 2, comm)
    freed = weakref.ref(y)
    gc.disable()
    try:
        loss = (y * y).sum()
        if how == "backward of comm":
            comm.backward(loss)
        elif how == "plain backward":
            loss.backward()
        else:
            comm.grad(loss, x)
        del y, loss
        assert freed() is None
    finally:
        gc.enable()


def test_graphs_that_pile_up_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_norm.distributed.comm._MANY", 3)
    comm, x = SelfComm(), leaf([1.0])
    distributed.allreduce_sum(distributed.allreduce_sum(x, comm), comm)
    with pytest.warns(UserWarning, match=r"3 sums over 1 process .* Evaluate under tn.no_grad"):
        distributed.allreduce_sum(x, comm)
    distributed.allreduce_sum(x, comm)


# What goes wrong is an error on every rank, and never a hang.


def caught(size: int, fn: Callable[[Comm], Any], timeout: float = 20.0) -> list[str]:
    """Return what each rank raises."""

    def rank(comm: Comm) -> str:
        try:
            fn(comm)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    return ThreadComm.run(size, rank, timeout=timeout)


def test_calls_that_differ() -> None:
    errors = caught(3, lambda comm: distributed.allreduce_sum(np.zeros(2 + (comm.rank == 2)), comm))
    assert errors == [
        "CollectiveError: ranks differ in collective 1: rank 0 calls allreduce_sum of shape (2,), 4 numbers in all; "
        "rank 2 calls allreduce_sum of shape (3,), 5 numbers in all"
    ] * 3  # fmt: skip


def test_equal_sizes_of_other_shapes_differ_too() -> None:
    errors = caught(2, lambda comm: distributed.allreduce_sum(np.zeros((2, 3) if comm.rank else (3, 2)), comm))
    assert all("(3, 2)" in error and "(2, 3)" in error for error in errors)


def test_a_backward_pass_on_one_rank_alone() -> None:
    def rank(comm: Comm) -> None:
        y = distributed.allreduce_sum(leaf([1.0]), comm)
        if comm.rank == 0:
            comm.backward(y)

    with pytest.raises(CollectiveError, match=r"rank 0 waits in collective 2, the gradient of .*; rank 1 has returned"):
        ThreadComm.run(2, rank)


def test_a_rank_that_raises() -> None:
    def rank(comm: Comm) -> None:
        comm.allreduce(np.zeros(1))
        if comm.rank == 1:
            raise KeyError("lost")
        comm.allreduce(np.zeros(1))

    with pytest.raises(KeyError, match="lost"):
        ThreadComm.run(3, rank)
    errors: list[str] = []

    def noted(comm: Comm) -> None:
        try:
            rank(comm)
        except CollectiveError as error:
            errors.append(str(error))
            raise

    with pytest.raises(KeyError, match="lost"):
        ThreadComm.run(3, noted)
    assert len(errors) == 2
    assert all("rank 1 raised KeyError: 'lost'; its last was collective 1, allreduce" in error for error in errors)


def test_a_rank_that_is_late() -> None:
    from threading import Event

    go = Event()

    def rank(comm: Comm) -> None:
        if comm.rank == 1:
            go.wait(10)
        try:
            comm.allreduce(np.zeros(1))
        finally:
            go.set()

    with pytest.raises(
        CollectiveError, match=r"rank 0 waits in .*; rank 1 did not arrive in 0.2 s; it has made no call"
    ):
        ThreadComm.run(2, rank, timeout=0.2)


def test_no_rank_goes_on_after_a_failure() -> None:
    def rank(comm: Comm) -> None:
        with pytest.raises(CollectiveError, match="ranks differ"):
            comm.allreduce(np.zeros(1 + comm.rank))
        comm.allreduce(np.zeros(1))

    with pytest.raises(CollectiveError, match="an earlier collective failed, so ranks are out of step: ranks differ"):
        ThreadComm.run(2, rank)


@pytest.mark.parametrize("difference", ["no_grad", "order of layers", "order of parameters"])
def test_programs_that_differ_with_equal_shapes(difference: str) -> None:
    def rank(comm: Comm) -> None:
        x = np.random.default_rng(comm.rank).standard_normal((3, 2)).astype(np.float32)
        model = tn.nn.Sequential(*(distributed.SyncBatchNorm(2, comm=comm) for _ in range(2)))

        class Swapped(tn.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = model

            def forward(self, x: Any) -> Any:
                layers = (self.first, self.second)
                return layers[comm.rank](layers[1 - comm.rank](x))

        if difference == "no_grad":
            with tn.no_grad() if comm.rank else tn.scope("recorded"):
                model(x)
        elif difference == "order of layers":
            Swapped()(x)
        else:
            a, b = leaf(np.zeros(2)), leaf(np.zeros(3))
            (a.sum() + b.sum()).backward()
            distributed.allreduce_gradients([b, a] if comm.rank else [a, b], comm)

    words = {"no_grad": "under no_grad", "order of layers": "in second", "order of parameters": "gradients of 2"}
    with pytest.raises(CollectiveError, match=f"ranks differ .*{words[difference]}"):
        ThreadComm.run(2, rank)


def test_arguments_that_are_none_of_these() -> None:
    comm = SelfComm()
    with pytest.raises(TypeError, match="backward expects a Tensor, or None for no loss, got list"):
        comm.backward([leaf(1.0)])
    comm.backward(0.0)
    distributed.allreduce_sum(leaf([1.0]), comm)
    with pytest.raises(ValueError, match="expected 2 cotangents, one for each output, got "):
        comm.grad([leaf(1.0) * 2, leaf(1.0) * 2], [], [1.0])
    with pytest.raises(TypeError, match="input 0 must be a Tensor, not int"):
        comm.grad(leaf(1.0) * 2, 3)
    for wrong in (None, 2):
        with pytest.raises(TypeError, match="comm must be a Comm"):
            distributed.SyncBatchNorm(2, comm=wrong)
        with pytest.raises(TypeError, match="comm must be a Comm"):
            distributed.convert_sync_batch_norm(tn.nn.Linear(2, 2), wrong)
    with pytest.raises(TypeError, match="parameter 0 must be a Tensor, not Linear"):
        distributed.allreduce_gradients(tn.nn.Linear(2, 2), comm)
    with pytest.raises(TypeError, match="shard each of its arrays"):
        distributed.shard((np.zeros(2), np.zeros(2)), comm)


def test_a_comm_of_ones_own() -> None:
    class Mine(Comm):
        def __init__(self) -> None:
            self.rank, self.size = 0, 1

        def allreduce(self, buffer: Any, what: str = "") -> Any:
            return buffer.tolist()

    given = draws((5, 2))
    assert difference(in_one_process(given), on_rank(given, slice(None), Mine())) < EXACT


def test_a_model_on_ranks_is_not_pickled() -> None:
    from pickle import dumps

    def rank(comm: Comm) -> None:
        dumps(distributed.SyncBatchNorm(2, comm=comm))

    with pytest.raises(TypeError, match=r"ThreadComm\(rank=0, size=1\) belongs to a running program"):
        ThreadComm.run(1, rank)
    assert dumps(distributed.SyncBatchNorm(2, comm=SelfComm()))


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="allreduce_sum expects a floating-point array"):
        distributed.allreduce_sum(np.arange(3), SelfComm())


# Layers.


def test_converted_models_keep_their_parameters_and_state() -> None:
    shared = tn.nn.BatchNorm2d(3, momentum=None)
    model = tn.nn.Sequential(tn.nn.Conv2d(1, 3, 3, rng=0), shared, tn.nn.Sequential(shared, tn.nn.ReLU()))
    model(np.ones((2, 1, 5, 5), np.float32) * np.arange(2).reshape(2, 1, 1, 1).astype(np.float32))
    model[1].eval()
    before, parameters = model.state_dict(), list(model.parameters())
    converted = distributed.convert_sync_batch_norm(model, SelfComm())
    assert converted is model
    assert type(model[1]) is distributed.SyncBatchNorm
    assert model[1] is model[2][0]
    assert not model[1].training
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(np.array_equal(after[key], before[key]) for key in before)
    alone = distributed.convert_sync_batch_norm(tn.nn.BatchNorm1d(2), SelfComm())
    assert type(alone) is distributed.SyncBatchNorm
    tn.nn.BatchNorm1d(2).load_state_dict(alone.state_dict())


def test_a_converted_model_gets_the_new_comm() -> None:
    def rank(comm: Comm) -> Any:
        model = distributed.convert_sync_batch_norm(tn.nn.Sequential(tn.nn.BatchNorm1d(1)), SelfComm())
        distributed.convert_sync_batch_norm(model, comm)
        conditional = distributed.convert_sync_batch_norm(tn.nn.more.ConditionalBatchNorm(1, 2), comm)
        assert type(conditional.norm) is distributed.SyncBatchNorm
        return model(np.array([[0.0], [1.0 + comm.rank]], np.float32)).data.ravel()

    np.testing.assert_allclose(ThreadComm.run(2, rank), [[-0.9, 0.3], [-0.9, 1.51]], atol=0.01)


def test_options_survive_the_conversion() -> None:
    layer = tn.nn.BatchNorm1d(2, eps=0.5, momentum=0.3, bias=False, stats_dtype=np.float64, dtype=np.float16)
    found = distributed.convert_sync_batch_norm(layer, SelfComm())
    assert found.weight is layer.weight
    assert found.bias is None
    assert (found.eps, found.momentum, found.stats_dtype) == (0.5, 0.3, np.float64)
    assert found.running_mean.dtype == np.float16
    bare = distributed.convert_sync_batch_norm(
        tn.nn.BatchNorm1d(2, affine=False, track_running_stats=False), SelfComm()
    )
    assert list(bare.state_dict()) == []


def test_what_may_do_something_else_is_left_alone() -> None:
    class Own(tn.nn.BatchNorm1d):
        pass

    model = tn.nn.Sequential(Own(2), tn.nn.GroupNorm(1, 2), tn.nn.InstanceNorm1d(2))
    kinds = [type(layer) for layer in model]
    assert [type(layer) for layer in distributed.convert_sync_batch_norm(model, SelfComm())] == kinds
    with pytest.raises(TypeError, match="requires a Module"):
        distributed.convert_sync_batch_norm(np.ones(2), SelfComm())


def test_eval_mode_calls_nobody() -> None:
    def rank(comm: Comm) -> Any:
        layer = distributed.SyncBatchNorm(2, comm=comm).eval()
        return [layer(np.ones((1, 2), np.float32)).data.tolist() for _ in range(comm.rank)]

    assert [len(found) for found in ThreadComm.run(3, rank)] == [0, 1, 2]


def test_a_checker_leaves_the_statistics_alone() -> None:
    layer = distributed.SyncBatchNorm(2, dtype=np.float64, comm=SelfComm())
    x = np.random.default_rng(0).standard_normal((4, 2))
    assert tn.check_module(layer, x)
    assert layer.num_batches_tracked == 0
    assert not layer.comm._recorded


@pytest.mark.parametrize("order", [1, 2])
def test_the_checker_on_one_process(order: int) -> None:
    x = np.random.default_rng(0).standard_normal((4, 2))
    report = tn.check_gradients(lambda x: distributed.sync_batch_norm(x, SelfComm()), x, order=order)
    assert report.oracle == tn.check_gradients(tn.batch_norm, x, order=order).oracle


def test_a_copied_model_talks_to_the_same_ranks() -> None:
    from copy import deepcopy

    layer = distributed.SyncBatchNorm(2, comm=SelfComm())
    assert deepcopy(layer).comm is layer.comm


# Training.


def test_parts_of_the_data() -> None:
    for size in (1, 2, 3, 7):
        found = ThreadComm.run(size, lambda comm: distributed.shard([*range(5)], comm))
        assert [i for part in found for i in part] == [*range(5)]
        assert max(map(len, found)) - min(map(len, found)) <= 1


def test_gradients_that_are_absent() -> None:
    def rank(comm: Comm) -> Any:
        a, b, c = (leaf(np.float32([1.0, 2.0])) for _ in range(3))
        if comm.rank == 0:
            (a * 3).sum().backward()
        (b * (1 + comm.rank)).sum().backward()
        distributed.allreduce_gradients([a, b, c], comm)
        assert a.grad.dtype == np.float32
        return a.grad.data.tolist(), b.grad.data.tolist(), c.grad

    assert ThreadComm.run(2, rank) == [([3.0, 3.0], [3.0, 3.0], None)] * 2
    distributed.allreduce_gradients([], SelfComm())


def test_what_drifted_is_named() -> None:
    def rank(comm: Comm) -> None:
        model = tn.nn.Sequential(tn.nn.Linear(2, 3, rng=0), tn.nn.BatchNorm1d(3))
        distributed.check_equal(model, comm)
        if comm.rank == 2:
            model[1].running_var = np.nextafter(model[1].running_var, np.float32(2))
        if comm.rank != 1:
            model[0].bias.data = model[0].bias.data + 1
        distributed.check_equal(model, comm)

    message = r"ranks differ from rank 0: '0.bias' on rank 1, '1.running_var' on rank 2$"
    with pytest.raises(ValueError, match=message):
        ThreadComm.run(3, rank)


@pytest.mark.parametrize("sizes", [[2, 1], [0, 3, 1], [3]])
def test_statistics_of_the_data_of_all_ranks(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((n, 4)) * n + 1 for n in (3, 1, 5, 2)[: sum(sizes)]]

    def model() -> tn.nn.Sequential:
        return tn.nn.Sequential(
            tn.nn.BatchNorm1d(4, dtype=np.float64), tn.nn.Tanh(), tn.nn.Linear(4, 3, dtype=np.float64, rng=1),
            tn.nn.BatchNorm1d(3, dtype=np.float64),
        )  # fmt: skip

    alone = model()
    tn.recalibrate(alone, batches)

    def rank(comm: Comm) -> Any:
        own = model()
        distributed.recalibrate(own, batches[parts(sizes)[comm.rank]], comm)
        distributed.check_equal(own, comm)
        return own.state_dict()

    for state in ThreadComm.run(len(sizes), rank):
        for key, values in alone.state_dict().items():
            np.testing.assert_allclose(state[key], values, rtol=EXACT, atol=EXACT)


def test_statistics_of_no_data_at_all() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        ThreadComm.run(2, lambda comm: distributed.recalibrate(tn.nn.BatchNorm1d(1), [], comm))


# Pictures, compiled steps.


def test_the_picture_has_a_box_with_the_number_of_processes() -> None:
    def rank(comm: Comm) -> str:
        x = tn.named("x", leaf(draws((4, 3))["x"]))
        return tn.draw(distributed.sync_batch_norm(x, comm), backward=True).source

    for source in ThreadComm.run(2, rank):
        assert source.count('label="Σ over 2 processes') == 4


def test_each_sum_of_the_gradient_stands_beside_the_sum_that_it_differentiates() -> None:
    x = leaf(draws((4, 3))["x"])
    vertices = tn.draw(distributed.sync_batch_norm(x, SelfComm()), backward=True).graph.vertices
    forward, backward = ([v for v in vertices if v.operation == "allreduce_sum" and v.order == i] for i in (0, 1))
    assert {v.differentiates for v in backward} == {v.id for v in forward}
    assert all(v.formula == "Σ g over the processes" for v in backward)


def test_fuse_leaves_collectives_where_they_are() -> None:
    pytest.importorskip("numba")
    given = draws((8, 3))

    def rank(comm: Comm) -> Any:
        fused = tn.fuse(lambda x: distributed.sync_batch_norm(x, comm))
        mine = parts([3, 5])[comm.rank]
        return fused(given["x"][mine]), [*fused.fallbacks]

    (a, reasons), (b, _) = ThreadComm.run(2, rank)
    np.testing.assert_allclose(np.concatenate([a, b]), tn.batch_norm(given["x"]), rtol=EXACT)
    assert reasons


def test_one_rank_is_what_on_rank_says() -> None:
    given = draws((5, 2))
    assert difference(in_one_process(given), on_rank(given, slice(None), SelfComm())) < EXACT
