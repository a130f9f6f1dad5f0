"""One list of mistakes serves the exercises and two pages."""

import re
from collections import Counter

import numpy as np
import pytest
from mistakes import common, published
from published_faults import FAULTS
from test_documents import ROOT, headings_of

import tinygrad_norm as tn
from tinygrad_norm.exercises import exercises
from tinygrad_norm.exercises.exercise import exercise
from tinygrad_norm.exercises.mistakes import MISTAKES

OF_EXERCISES = {key: mistake for key, mistake in MISTAKES.items() if mistake.shown}
OF_OTHERS = {key: mistake for key, mistake in MISTAKES.items() if not mistake.shown}
NAMED = {
    f"{one.name}.{wrong.__name__}": key
    for one in exercises()
    for answers in one.module.WRONG.values()
    for wrong, key in answers.items()
}


def test_every_wrong_answer_names_a_mistake_and_every_mistake_is_used():
    assert {*NAMED.values()} == {*OF_EXERCISES}
    assert {*FAULTS} == {*OF_OTHERS}


def test_a_page_shows_a_wrong_answer_that_names_the_mistake():
    assert {key: NAMED[mistake.shown] for key, mistake in OF_EXERCISES.items()} == {key: key for key in OF_EXERCISES}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("sections", "mistakes", "others"), [(common, OF_EXERCISES, []), (published, OF_OTHERS, ["In norms"])]
)
def test_a_section_for_each_mistake_with_the_checkers_words_and_no_other(sections, mistakes, others):
    text = sections()
    assert re.findall(r"(?m)^## (.*)$", text) == [*(mistake.title for mistake in mistakes.values()), *others]
    assert len(re.findall(r"(?m)^> The checker: \S.{20}", text)) == text.count("\n```python\n") == len(mistakes)


def test_the_page_that_a_message_names_takes_in_the_section():
    for mistake in MISTAKES.values():
        page = ROOT / "docs" / mistake.page.partition("#")[0].replace(".html", ".md")
        assert f"```{{made}} {page.name}\n" in page.read_text(encoding="utf-8")
        assert mistake.title in headings_of(page)


def test_sources_are_addresses_and_none_is_a_mistake_twice():
    sources = [source for mistake in MISTAKES.values() for source in mistake.sources]
    pattern = r"https://github\.com/[\w.-]+/[\w.-]+/((issues|pull)/\d+|blob/\w+/[\w./-]+)"
    assert [source for source in sources if not re.fullmatch(pattern, source)] == []
    assert [source for source, times in Counter(sources).items() if times > 1] == []


def test_texts_are_sentences():
    for mistake in MISTAKES.values():
        assert mistake.title[-1].isalnum()
        assert [text for text in (mistake.wrong, mistake.survives, mistake.mend) if not text.endswith(".")] == []


# Why mistakes are not noticed.


def said(backward, forward, *given):
    try:
        return tn.check_backward(forward, backward, *given, seed=0)
    except tn.GradientMismatch as mismatch:
        return mismatch.report


@pytest.mark.parametrize("shown", ["layer_norm.gamma_outside", "batch_norm.no_gamma"])
def test_ones_hide_what_is_wrong_with_gamma(shown):
    name, _, wrong = shown.partition(".")
    module, x = exercise(name).module, np.random.default_rng(0).normal(size=(4, 5))
    assert said(getattr(module, wrong), module.forward, x, np.ones(5), np.zeros(5)).verdict.name == "PASSED"
    assert said(getattr(module, wrong), module.forward, x, np.arange(2.0, 7), np.zeros(5)).verdict.name == "WRONG_VALUE"


def test_column_sums_do_not_show_that_the_path_through_the_variance_is_missing():
    g, x = np.random.default_rng(0).normal(size=(2, 4, 3))
    for one in (exercise("normalize").module.backward, exercise("normalize").module.constant_variance):
        np.testing.assert_allclose(one(g, x).sum(axis=0), 0, atol=1e-12)


def test_words_that_differ_hide_an_embedding_that_counts_once():
    forward, backward, drawn = FAULTS["embedding"]
    words = said(backward, forward, drawn).witness[1].tolist()
    assert len(words) > len({*words})
    table, different = np.random.default_rng(0).normal(size=(4, 2)), np.array([2, 0, 3])
    assert said(backward, forward, table, different).verdict.name == "PASSED"


def test_a_penaltys_sign_is_wrong_in_the_weights_alone():
    forward, backward, drawn = FAULTS["penalty"]
    assert [argument.name for argument in said(backward, forward, drawn).arguments if argument.wrong] == ["w"]
