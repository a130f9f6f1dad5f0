"""The sections of the two pages of common mistakes, from the list in tinygrad_norm/exercises/mistakes.toml."""

import ast
import inspect
import re
import textwrap

from published_faults import FAULTS

import tinygrad_norm as tn
from tinygrad_norm.exercises import exercises, judge
from tinygrad_norm.exercises.exercise import exercise
from tinygrad_norm.exercises.mistakes import MISTAKES

WIDTH = 120
IN_NORMS = "Each of these has a section on the page of common mistakes, with links to reports and questions:"


def common():
    """Return a section for each mistake of the exercises."""
    return "\n\n".join(section(key) for key, mistake in MISTAKES.items() if mistake.shown)


def published():
    """Return a section for each of the other mistakes, and links to those of the exercises that have sources."""
    sections = [section(key) for key, mistake in MISTAKES.items() if not mistake.shown]
    norms = [mistake for mistake in MISTAKES.values() if mistake.shown and mistake.sources]
    pointers = [item(f"[{mistake.title}]({mistake.page.replace('.html', '.md')})") for mistake in norms]
    return "\n\n".join([*sections, f"## In norms\n\n{IN_NORMS}", "\n".join(pointers)])


def section(key):
    """Return what the list says of a mistake, its code, and the checker's words."""
    mistake = MISTAKES[key]
    code, words = _of_exercise(mistake.shown) if mistake.shown else _of_published(key)
    named = {"Why it is not noticed": mistake.survives, "Correct": mistake.mend}
    if mistake.shown:
        named["In the exercises"] = ", ".join(f"`{name}`" for name in where(key)) + "."
    if mistake.sources:
        named["Reports and questions"] = f"{_links(mistake)}."
    items = [item(f"{name}: {text}") for name, text in named.items()]
    quote = textwrap.fill(f"The checker: {words}", WIDTH, initial_indent="> ", subsequent_indent="> ")
    text = textwrap.fill(mistake.wrong, WIDTH)
    return "\n\n".join([f"## {mistake.title}", text, f"```python\n{code}\n```", quote, "\n".join(items)])


def item(text):
    return textwrap.fill(
        text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def where(key):
    """Return the names of the exercises that have the mistake as a wrong answer."""
    return [one.name for one in exercises() if any(key in answers.values() for answers in one.module.WRONG.values())]


def _links(mistake):
    return ", ".join(f"[{_label(*source.split('/')[4:])}]({source})" for source in mistake.sources)


def _label(repository, kind, *place):
    return f"{repository} #{place[0]}" if kind in ("issues", "pull") else f"{repository}, {place[-1]}"


def _of_exercise(shown):
    """Return the code of a wrong answer, with the helper functions that it calls, and what is said of it."""
    name, _, wrong = shown.partition(".")
    module = exercise(name).module
    answer = getattr(module, wrong)
    helpers = [
        helper
        for called in answer.__code__.co_names
        if inspect.isfunction(helper := getattr(module, called, None)) and called not in (*module.FILL_IN, "forward")
    ]
    (function,) = [function for function, answers in module.WRONG.items() if answer in answers]
    code = "\n\n\n".join(map(_without_docstring, [*helpers, answer]))
    if function == "backward":
        one = exercise(name)
        return code, _said(module.forward, answer, one.inputs, wrt=[*one.outputs(function)])
    judged = judge({**vars(module), function: answer}, name)
    return code, ". ".join(judged.findings[module.FILL_IN.index(function)].wrong) + "."


def _of_published(key):
    forward, backward, inputs = FAULTS[key]
    return "\n\n\n".join(map(_without_docstring, (forward, backward))), _said(forward, backward, inputs)


def _said(forward, backward, inputs, **options):
    """Return the first sentence of the checker's report, and its first guess."""
    try:
        tn.check_backward(forward, backward, inputs, seed=0, **options)
    except tn.GradientMismatch as mismatch:
        report = mismatch.report
    # The inputs on which it was seen are left out.
    guesses = [f"Looks like: {re.sub(r' [(]as seen on .*?[)]', '', guess)}." for guess in report.diagnosis[:1]]
    return " ".join([*report.text().split("\n\n")[0].split(), *guesses])


def _without_docstring(function):
    source = inspect.getsource(function).rstrip()
    lines = source.splitlines()
    first, *rest = ast.parse(source).body[0].body
    if isinstance(first, ast.Expr):
        del lines[first.lineno - 1 : rest[0].lineno - 1]
    return "\n".join(lines)
