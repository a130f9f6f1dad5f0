"""The code beside the graph: which line made which box, and what of the source is shown."""

import functools
import importlib.util
import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from test_explorer import recording, scene_data

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import lines, source
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.explorer.source import source_of

X = np.random.default_rng(0).normal(size=(4, 3))


def code_of(made):
    return source_of([made.calls(t) for t in made.tensors])


def noted(fn, *inputs):
    """Of each box that was computed: the expression, the text of its lines, and of the lines it was called from."""
    made = fn if isinstance(fn, Recording) else Recording(fn, dict(zip("xyz", inputs or (X,), strict=False)))
    code = code_of(made)
    texts = [line["text"].strip() for line in code["lines"]]
    found = []
    for t, of in zip(made.tensors, code["of"], strict=True):
        assert (of is None) == (t.node is None)
        if of is not None:
            mark = code["marks"][of]
            part = " ".join(code["lines"][i]["text"][start:end] for i, start, end in mark["parts"])
            found.append((part, [texts[i] for i in mark["at"]], [texts[i] for i in mark["via"]]))
    return found


def parts(fn, *inputs):
    return [part for part, _, _ in noted(fn, *inputs)]


def shown(fn, *inputs):
    code = code_of(Recording(fn, dict(zip("xyz", inputs or (X,), strict=False))))
    return [(line["n"], line["text"]) for line in code["lines"]]


def module_from(path, text):
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The norms: the textbook's lines.


def test_each_box_of_batch_norm_has_its_line_of_the_textbook():
    calls = noted(recording("batch_norm"))
    assert [part for part, _, _ in calls] == [
        "ops.mean(values, axes, keepdims=True)",
        "values - mean",
        "ops.square(centred)",
        "ops.mean(ops.square(centred), axes, keepdims=True)",
        "ops.rsqrt(var + given.eps)",
        "centred * ops.rsqrt(var + given.eps)",
        "x_hat * weight",
        "y + bias",
    ]
    assert calls[1][1:] == (
        ['centred = named("x−μ", values - mean)'],
        ["x_hat, mean, var = standardized(given)", "mean, centred, var = _moments(given)"],
    )


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "instance_norm", "group_norm"])
def test_the_source_of_a_norm_is_the_textbooks_without_docstrings_and_in_the_order_of_calls(name):
    code = code_of(recording(name))
    texts = [line["text"] for line in code["lines"]]
    heads = [text.partition("(")[0] for text in texts if text.startswith("def ")]
    assert heads == [f"def {name}", "def standardized", "def _moments", "def affine"]
    assert texts[0] == "tinygrad_norm/norm/functional.py"
    assert not any('"""' in text or "Parameters" in text for text in texts)
    file = (Path(tn.__file__).parent / "norm/functional.py").read_text(encoding="utf-8").splitlines()
    assert all(file[line["n"] - 1] == line["text"] for line in code["lines"] if line["n"])


def test_a_layer_shows_the_norm_and_a_function_of_the_engine_itself():
    assert parts(tn.nn.BatchNorm1d(3))[1] == "values - mean"
    assert parts(tn.nn.Sequential(tn.nn.Linear(3, 2), tn.nn.LayerNorm(2)))[:3] == [
        "x @ self.weight.T", "y + self.bias", "ops.mean(values, axes, keepdims=True)",
    ]  # fmt: skip
    assert parts(tn.ops.softmax)[-1] == "exp(log_shares)"
    assert shown(tn.ops.softmax)[1][1].startswith("def softmax(")
    assert code_of(Recording(np.tanh, {"x": X})) is None


# A user's own functions.


def centred(x):
    return x - x.mean(0)


def with_helper(x):
    """Say what it does."""

    # The deviations.
    deviations = centred(x)
    return deviations / np.sqrt((deviations**2).mean(0))


def test_a_helper_is_shown_after_its_caller_and_the_call_is_noted():
    calls = noted(with_helper)
    assert calls[0] == ("x.mean(0)", ["return x - x.mean(0)"], ["deviations = centred(x)"])
    assert calls[2] == (
        "deviations**2",
        ["return deviations / np.sqrt((deviations**2).mean(0))"],
        [],
    )
    first = with_helper.__code__.co_firstlineno
    assert shown(with_helper) == [
        (first, "def with_helper(x):"),
        (first + 3, "    # The deviations."),
        (first + 4, "    deviations = centred(x)"),
        (first + 5, "    return deviations / np.sqrt((deviations**2).mean(0))"),
        (None, ""),
        (first - 4, "def centred(x):"),
        (first - 3, "    return x - x.mean(0)"),
    ]


def test_a_norm_called_by_the_user_belongs_to_the_users_line():
    def twice(x):
        return tn.batch_norm(x) + tn.nn.LayerNorm(3)(x)

    whole = "tn.batch_norm(x) + tn.nn.LayerNorm(3)(x)"
    assert set(parts(twice)) == {"tn.batch_norm(x)", "tn.nn.LayerNorm(3)(x)", whole}


def test_a_statement_of_several_lines_is_lit_as_a_whole_and_its_expression_is_exact():
    def several(x):
        return (
            np.exp(x)
            * x.sum(
                1,
                keepdims=True,
            )
        )  # fmt: skip

    whole = ["return (", "np.exp(x)", "* x.sum(", "1,", "keepdims=True,", ")", ")  # fmt: skip"]
    assert [(part, at) for part, at, _ in noted(several)] == [
        ("np.exp(x)", whole),
        ("x.sum( 1, keepdims=True, )", whole),
        ("np.exp(x) * x.sum( 1, keepdims=True, )", whole),
    ]


def test_of_a_loop_or_a_condition_its_head_is_lit_and_of_a_very_long_statement_the_expression():
    def looped(x):
        if (x.sum() > 1e9):  # fmt: skip
            return x
        for row in x * 2:
            x = x + row
        terms = [
            x * 3,
            *[0] * 3,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            np.tanh(x),
        ]
        return sum(terms)

    def matched(x):
        match x.ndim:
            case 2 if (y := x * 2) is not None:
                return y * 3

    assert noted(matched)[0][:2] == ("x * 2", ["case 2 if (y := x * 2) is not None:"])
    by_part = {part: at for part, at, _ in noted(looped)}
    assert by_part["x * 2"] == ["for row in x * 2:"]
    assert by_part["x + row"] == ["x = x + row"]
    assert by_part["np.tanh(x)"] == ["np.tanh(x),"]


def test_lambdas_are_told_apart_on_one_line_and_over_several():
    pair = [lambda x: x * 2, lambda x: np.tanh(x)]  # noqa: PLW0108
    assert parts(pair[1]) == ["np.tanh(x)"]
    assert parts(lambda x: np.exp(x) * x) == ["np.exp(x)", "np.exp(x) * x"]
    over_two = lambda x: (  # noqa: E731
        x * 2
        + 1
    )  # fmt: skip
    assert noted(over_two)[0][:2] == (
        "x * 2",
        ["over_two = lambda x: (  # noqa: E731", "x * 2", "+ 1", ")  # fmt: skip"],
    )


def test_columns_count_characters_not_bytes(tmp_path):
    text = "def greek(x, γ̂=2.0):\n    β = 'ββ'; ŷ = {'μ−σ': x * γ̂}['μ−σ'] + len(β)\n    return ŷ\n"
    assert parts(module_from(tmp_path / "greek.py", text).greek) == ["x * γ̂", "{'μ−σ': x * γ̂}['μ−σ'] + len(β)"]


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) * 2

    return wrapper


def on(function):
    """Replace what is decorated by a function."""
    return lambda _: function


@on(lambda x: np.tanh(x) * 2)
def replaced(x): ...


@decorated
@decorated
def marked(x):
    return np.square(x)


def test_decorators_are_left_out_and_what_they_compute_has_its_own_line():
    assert parts(marked) == ["np.square(x)", "function(*args) * 2", "function(*args) * 2"]
    texts = [text for _, text in shown(marked)]
    assert not any("@" in text for text in texts)
    assert texts.count("def marked(x):") == 1
    assert noted(replaced)[0] == ("np.tanh(x)", ["@on(lambda x: np.tanh(x) * 2)"], [])


class Scaled(tn.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = tn.nn.LayerNorm(3)

    def forward(self, x):
        return self.inner(x) * 2


class Callable:
    def __call__(self, x):
        return functools.partial(self.scaled, 3.0)(x)

    def scaled(self, factor, x):
        return sum([row * factor for row in x])


def test_methods_of_modules_and_of_callables_are_shown():
    assert set(parts(Scaled())) == {"self.inner(x)", "self.inner(x) * 2"}
    assert {"row * factor", "sum([row * factor for row in x])"} <= set(parts(Callable()))
    assert noted(Callable())[0][2] == ["return functools.partial(self.scaled, 3.0)(x)"]
    assert shown(Callable())[0][1] == "def __call__(self, x):"


def test_a_generator_and_a_nested_function_stand_in_the_function_around_them():
    def outer(x):
        def inner(row, factor=x * 0.5):
            """Double it."""
            return row * 2 + factor

        return sum(inner(row) for row in x)

    assert {"row * 2", "x * 0.5"} <= set(parts(outer))
    assert [text for _, text in shown(outer)] == [
        "def outer(x):",
        "    def inner(row, factor=x * 0.5):",
        "        return row * 2 + factor",
        "",
        "    return sum(inner(row) for row in x)",
    ]


def test_a_helper_of_another_file_and_a_library(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    library = module_from(tmp_path / "lib" / "library.py", "def apply(f, x):\n    return f(x) + 1\n")
    monkeypatch.setattr(lines, "_LIBRARIES", (str(tmp_path / "lib") + os.sep,))
    own = module_from(tmp_path / "own.py", "def halved(x):\n    return x / 2\n")
    assert noted(lambda x: library.apply(own.halved, x))[0][0] == "x / 2"
    # The library's own addition belongs to the line that calls it; alone, the library is shown.
    assert noted(lambda x: library.apply(own.halved, x))[1][0] == "library.apply(own.halved, x)"
    assert parts(functools.partial(library.apply, np.tanh)) == ["f(x)", "f(x) + 1"]


# Source that is not there, or is not what it was.


def test_what_has_no_source_shows_none_and_what_calls_it_is_shown():
    space = {"np": np}
    exec("def typed(x):\n    return np.tanh(x) * 2", space)
    assert code_of(Recording(space["typed"], {"x": X})) is None
    assert "code" not in scene_data(tn.explore(space["typed"], X))["stages"][0]
    assert set(parts(lambda x: space["typed"](x) + 1)) == {'space["typed"](x)', 'space["typed"](x) + 1'}


@pytest.mark.parametrize("new", ["", "def f(x): return (", "\0", "\n\n\ndef f(x):\n    return x * 2\n", "y = 1\n" * 9])
def test_a_file_that_was_changed_or_deleted_shows_nothing_that_did_not_run(tmp_path, new):
    path = tmp_path / "changing.py"
    module = module_from(path, "def f(x):\n    return x * 2\n")
    assert parts(module.f) == ["x * 2"]
    path.write_text(new)
    assert code_of(Recording(module.f, {"x": X})) is None
    path.unlink()
    assert code_of(Recording(module.f, {"x": X})) is None


def test_source_with_warnings_tabs_and_markup_is_taken_as_it_is(tmp_path):
    with pytest.warns(SyntaxWarning if sys.version_info >= (3, 12) else DeprecationWarning):
        module = module_from(
            tmp_path / "hostile.py",
            "def f(x):\n\tnote = '</script><b>\\d\u2028&lt;' ; y = x * 2\n\treturn y\n",
        )
    assert parts(module.f) == ["x * 2"]
    texts = [line["text"] for line in scene_data(tn.explore(module.f, X))["stages"][0]["code"]["lines"]]
    assert texts[1] == "\tnote = '</script><b>\\d\u2028&lt;' ; y = x * 2"


def test_a_page_does_not_tell_where_the_file_lies(tmp_path):
    module = module_from(tmp_path / "secret.py", "def f(x):\n    return x * 2\n")
    assert str(tmp_path) not in tn.explore(module.f, X).html


def test_of_a_long_function_the_neighbourhood_is_shown_and_of_a_long_line_its_start(tmp_path):
    idle = "".join(f"    unused{i} = {i}\n" for i in range(150))
    wide = f"    z = y * 2 + len({'x' * 500!r})\n"
    module = module_from(tmp_path / "long.py", f"def f(x):\n{idle}    y = np.tanh(x)\n{idle}{wide}    return z\n")
    module.np = np
    found = shown(module.f)
    assert [text.strip()[:16] for _, text in found] == [
        "def f(x):", "…", "unused148 = 148", "unused149 = 149", "y = np.tanh(x)", "unused0 = 0", "unused1 = 1",
        "…", "unused148 = 148", "unused149 = 149", "z = y * 2 + len(", "return z",
    ]  # fmt: skip
    assert max(len(text) for _, text in found) == source.WIDEST_LINE + 1
    assert parts(module.f)[:2] == ["np.tanh(x)", "y * 2"]


def test_a_long_signature_has_a_gap():
    def signed(
        x,
        first=1,
        second=2,
        third=3,
    ):
        # Not a part of the signature.
        return x * first

    assert [text for _, text in shown(signed)] == [
        "def signed(", "…", "):", "    # Not a part of the signature.", "    return x * first",
    ]  # fmt: skip
