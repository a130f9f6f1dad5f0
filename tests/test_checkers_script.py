"""The wrappers of other checkers are right: each accepts a right gradient, and rejects one with its sign flipped."""

import numpy as np
import pytest

from tests.benchmarks import figures, peers, real, searches
from tests.draws import drawn
from tests.held_out_mutants import HELD_OUT
from tinygrad_norm.check import check_backward
from tinygrad_norm.check.mutants import CASES, MUTANTS, Mutant

pytestmark = pytest.mark.oracle
CHECKERS = {
    "tinygrad_norm": None,
    "torch gradcheck, slow": "torch",
    "torch gradcheck, fast": "torch",
    "torch gradcheck of fn(x).sum()": "torch",
    "jax check_grads": "jax",
    "autograd check_grads": "autograd",
}
every_checker = pytest.mark.parametrize(("name", "library"), CHECKERS.items())


def named(name: str) -> Mutant:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    return mutant


def test_every_checker_is_here() -> None:
    assert list(peers.CHECKERS) == list(CHECKERS)


@every_checker
@pytest.mark.parametrize("function", ["matmul", "layer_norm"])
def test_a_right_gradient_is_accepted_and_its_negative_is_not(name: str, library: str | None, function: str) -> None:
    if library is not None:
        pytest.importorskip(library)
    case, mutant = CASES[function], named(f"{function}: sign flipped")
    for number, xs in enumerate(drawn(case.inputs, 3)):
        before = [x.copy() for x in xs]
        assert peers.accepts(peers.CHECKERS[name], case.forward, case.backward, xs, number)
        assert all(map(np.array_equal, before, xs))
    assert not peers.accepts(peers.CHECKERS[name], mutant.forward, mutant.backward, xs, 2)


def test_a_sum_hides_what_others_see() -> None:
    """Of the sum of a layer norm without parameters, the right gradient is null, and so is the wrong one."""
    pytest.importorskip("torch")
    rejected = {(name, scale): wrong for name, scale, wrong, _ in figures.layer_norms(0)}
    assert not rejected["torch gradcheck of fn(x).sum()", 1.0]
    assert rejected["torch gradcheck, slow", 1.0]
    assert all(rejected["tinygrad_norm", scale] for scale in figures.SCALES)


@pytest.mark.parametrize("name", ["softmax: sum missing", "batch_norm: cotangent squared"])
def test_a_mutant_is_hunted(name: str) -> None:
    for library in ("torch", "jax", "autograd"):
        pytest.importorskip(library)
    found = figures.hunt(named(name), 1.0)
    assert found.seen
    assert found.first["tinygrad_norm"] == 1
    # One-hot cotangents are their own squares.
    assert (found.first["torch gradcheck, slow"] is None) is name.endswith("squared")


def test_a_search_counts_up_to_the_first_hit() -> None:
    mutant = named("layer_norm: variance path dropped")
    search = searches.searched(mutant.forward, mutant.backward, mutant.inputs, expected=mutant.verdict)
    assert search.verdict == search.expected
    assert 1 == search.first <= search.examined


def test_a_diagnosis_comes_to_one_word() -> None:
    assert searches.category(()) == "unknown"
    assert searches.category(("it is the right gradient with its sign flipped",)) == "sign"
    assert (
        searches.category(("it is 0.25 times the right gradient everywhere, which is 1 / the batch size",))
        == "batch size"
    )
    assert searches.diagnosed(([m.expected for m in HELD_OUT].index("sign"), 0))[1:3] == ("sign", "sign")


class Doubling:
    """A layer that counts, across its copies, how often it runs."""

    runs = 0

    def forward(self, x):
        Doubling.runs += 1
        return 2 * x

    def backward(self, g):
        return 2 * g


def test_every_call_of_forward_is_counted() -> None:
    calls = []

    def doubled(x):
        calls.append(1)
        return 2 * x, ()

    x = np.ones((2, 3))
    with real.counting_forward() as made:
        check_backward(doubled, lambda g, cache: 2 * g, x, seed=0)
    assert sum(counted.calls for counted in made) == len(calls) > 0
    with real.counting_forward() as made:
        check_backward(Doubling(), x, seed=0)
    # The first run finds parameters.
    assert sum(counted.calls for counted in made) == Doubling.runs - 1 > 0


def test_real_code_is_run_right_and_wrong() -> None:
    number = [code.name for code in real.CODES].index("tanh")
    right, wrong = real.run((number, -1, 0)), real.run((number, 0, 0))
    assert (right.fault, right.verdict, right.worth) == ("", "PASSED", "")
    assert wrong.fault == real.CODES[number].wrong[0].name
    assert wrong.verdict not in ("PASSED", "VACUOUS", "ORACLE_UNRELIABLE")
    assert wrong.worth in ("true", "silent", "misleading")
    assert right.right
    assert wrong.right
    assert not right._replace(verdict="VACUOUS").right
    assert not wrong._replace(verdict="ORACLE_UNRELIABLE").right
    assert min(right.calls, wrong.calls, right.seconds, wrong.seconds) > 0


def test_calls_of_forward_are_those_of_a_check() -> None:
    pytest.importorskip("torch")
    found = {name: counted for name, *counted in real.counts(0, 1)}
    entries, forward, _ = found["torch gradcheck, slow"]
    assert forward >= 2 * entries
    assert found[real.FURTHER][1] < found[peers.OURS][1]
