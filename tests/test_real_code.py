"""Code as people write it: what is right passes, what is wrong is rejected, diagnoses are judged by fixed words."""

from collections import Counter
from zlib import crc32

import pytest

import tinygrad_norm as tn
from tests.real_code import SEEN, UNSEEN, Code, Wrong
from tests.real_code.case import arguments, judged, told
from tests.sampling import one_in

CODES = (*SEEN, *UNSEEN)


def _check(code: Code, wrong: Wrong | None = None, more: int = 0) -> tn.GradientReport:
    seed = crc32(f"{code.name}: {wrong.name}".encode() if wrong else code.name.encode()) + more
    return tn.check_backward(*arguments(code, wrong), budget="quick", seed=seed, **code.options)


@pytest.mark.parametrize("code", one_in(8, CODES), ids=lambda code: code.name)
def test_what_is_right_passes(code):
    assert _check(code).verdict is tn.check.Verdict.PASSED


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_what_is_right_passes_with_every_seed(code, seed):
    assert _check(code, more=seed).verdict is tn.check.Verdict.PASSED


@pytest.mark.parametrize("code", one_in(5, CODES[::4]), ids=lambda code: code.name)
def test_what_is_wrong_is_rejected(code):
    with pytest.raises(tn.GradientMismatch):
        _check(code, code.wrong[0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("half", [SEEN, UNSEEN], ids=["seen", "unseen"])
def test_most_faults_are_told_and_few_are_mistaken(half):
    tally = Counter()
    for code in half:
        for wrong in code.wrong:
            with pytest.raises(tn.GradientMismatch) as caught:
                _check(code, wrong)
            tally[judged(wrong, told(caught.value.report))] += 1
    assert tally["true"] >= 0.75 * tally.total(), tally
    assert tally["misleading"] <= 0.02 * tally.total(), tally


def test_every_kind_has_faults_and_its_own_name():
    names = [code.name for code in CODES]
    assert len({*names}) == len(names)
    assert all(len(code.wrong) >= 1 and len({w.name for w in code.wrong}) == len(code.wrong) for code in CODES)
    words = [word for code in CODES for wrong in code.wrong for word in (*wrong.accepted, *wrong.forbidden)]
    assert all(word == word.lower() for word in words)


def test_a_diagnosis_is_judged_by_what_was_fixed():
    wrong = Wrong("the sign", None, accepted=("sign",), forbidden=("transposed",))
    assert judged(wrong, "") == "silent"
    assert judged(wrong, "it is the right gradient with its Sign flipped") == "true"
    assert judged(wrong, "it is twice the right gradient") == "misleading"
    assert judged(wrong, "its sign is flipped and it is transposed") == "misleading"
    assert judged(Wrong("the sign", None, accepted=(" sign",)), "by design") == "misleading"
    quiet = Wrong("a constant of its own", None, accepted=(), forbidden=("sign",))
    assert [judged(quiet, said) for said in ("", "a factor", "the sign")] == ["silent", "silent", "misleading"]
