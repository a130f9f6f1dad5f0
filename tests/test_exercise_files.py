"""Exercises as files: what a student's file can be, the command, and what classes use."""

import ast
import json
import re
import subprocess
import sys

import pytest
from test_core_is_enough import ROOT
from test_exercises import file_with, said

from tinygrad_norm import cli
from tinygrad_norm.exercises import check, exercises, judge
from tinygrad_norm.exercises.answers import NAMES
from tinygrad_norm.exercises.exercise import UnknownExercise, exercise

# What is wrong with a file.


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def backward(g, x)\n    return g", "cannot read line 2, 'def backward(g, x)': expected ':'"),
        ("def backward(g, x):\n    return x @ x", "raises ValueError: matmul"),
        ("def backward(g, x):\n    y = g\n    return y[9]", "line 4: return y[9]), for x of shape (5, 4)"),
        ("def backward(g, x):\n    return None", "returns None"), ("def backward(g, x):\n    pass", "returns None"),
        ("def backward(g, x):\n    return g, x", "it returns 2 results; it should return the gradient of x"),
        ("def backward(g, x):\n    return (x * 0).astype(int)", "array of int64"),
        ("def backward(g, x):\n    return x.astype(object)", "array of object"),
        ("def backward(g, x):\n    return x + 0j", "array of complex128"),
        ("def backward(g, x):\n    return 'g / N'", "value of type str"),
        ("def backward(g, x):\n    return [[0.0] * x.shape[1]] * len(x)", "value of type list"),
        ("def backward(g, x):\n    return 1.5", "has shape (); it should have shape (5, 4)"),
        ("def backward(g, x):\n    return x * np.nan", "not finite"),
        ("def backward(g, x):\n    return x / 0", "not finite"),
        ("def backward(g):\n    return g", "it should take 2 arguments, (g, x)"),
        ("backward = 3", "no function backward"),
        ("backward = np.hypot", "not linear in the cotangent"),
        ("import functools\nbackward = functools.partial(pow, 2)", "it raises TypeError"),
        ("", "no function backward"), ("1 / 0", "ZeroDivisionError: division by zero (line 2: 1 / 0)"),
        ("exit()", "SystemExit"), ("def backward(g, x):\n    exit()", "SystemExit"),
        ("def backward(g, x):\n    g /= len(x)\n    return np.ones_like(x) * g", "changes the cotangent in place"),
        ("def backward(g, x):\n    x *= 0\n    return x + g / len(x)", "in place"),
        ("def backward(g, x):\n    x[0, 1]\n    return np.ones_like(x) * g / len(x)", "IndexError"),
        ("def backward(g, x):\n    return np.random.rand(*x.shape)", "differs from call to call"),
        ("import nothing_of_that_name", "ModuleNotFoundError"), ("raise NotImplementedError", "NotImplementedError"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_and_status_1(code, words, tmp_path, capsys):
    path = file_with(tmp_path, "mean", f'EXERCISE = "mean"; import numpy as np\n{code}\n')
    assert cli.main(["exercise", "check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert words in " ".join(out.split())
    assert "not right yet" in out
    assert "Traceback" not in out + err


def test_values_that_change_what_they_are_given_are_wrong():
    def update(x, running_mean, running_var):
        running_mean *= 0.9
        running_mean += 0.1 * x.mean(axis=0)
        return running_mean, 0.9 * running_var + 0.1 * x.var(axis=0, ddof=1)

    judged = judge({"update": update}, "running_statistics")
    assert "changes its arguments" in said(judged)


def test_what_an_answer_prints_is_shown_once(capsys):
    def backward(g, x):
        print("looked at")
        return g - g.mean(axis=0)

    assert judge({"backward": backward}, "centre").right
    assert capsys.readouterr().out == "looked at\n"


# The command.


def test_the_list_is_in_the_order_of_learning(capsys):
    assert cli.main(["exercise", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[str(i), name] for i, name in enumerate(NAMES, 1)]
    assert next(iter(NAMES)) == "multiply"
    assert len(NAMES) == len({*NAMES}) >= 15


def test_start_check_and_solution(tmp_path, capsys):
    mine, theirs = str(tmp_path / "mine.py"), str(tmp_path / "theirs.py")
    assert cli.main(["exercise", "start", "rms_norm", "-o", mine]) == 0
    assert f"tinygrad-norm exercise check {mine}" in capsys.readouterr().out
    assert cli.main(["exercise", "check", mine]) == 1
    assert f"For a hint: tinygrad-norm exercise check {mine} --hint 1 (3 in all)" in capsys.readouterr().out
    assert cli.main(["exercise", "solution", "rms_norm", "-o", theirs]) == 0
    assert cli.main(["exercise", "check", theirs]) == 0
    assert "Next: fold (Folding a batch norm" in capsys.readouterr().out


def test_hints_go_one_step_further_each_time(tmp_path, capsys):
    for one in exercises():
        assert 2 <= len(one.hints) <= 4
        path = file_with(tmp_path, one.name, one.stub())
        shown = []
        for count in range(len(one.hints) + 2):
            assert cli.main(["exercise", "check", str(path), "--hint", str(count)]) == 1
            shown.append(capsys.readouterr().out)
        for count, out in enumerate(shown):
            assert re.findall(r"Hint (\d) of", out) == [str(i + 1) for i in range(min(count, len(one.hints)))]
            assert (f"--hint {count + 1}" in out) == (count < len(one.hints))
        # The solution itself is in none of them as code that could be copied whole.
        assert one.solution() not in shown[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "missing.py"], "missing.py"), (["check", "."], "directory"), (["check", "nameless.py"], "EXERCISE"),
        (["check", "other.py"], "no exercise 'dance'; there are multiply, mean"), (["check", "binary.py"], "decode"),
        (["check", "broken.py"], "EXERCISE"), (["start", "dance", "-o", "x.py"], "no exercise 'dance'"),
        (["solution", "dance", "-o", "x.py"], "no exercise 'dance'"),
        (["start", "mean", "-o", "other.py"], "exists already"), (["start", "mean", "-o", "no/x.py"], "no/x.py"),
    ],
)  # fmt: skip
def test_a_missing_file_or_exercise_is_one_line_and_status_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file_with(tmp_path, "nameless", "def backward(g, x): return g\n")
    file_with(tmp_path, "other", 'EXERCISE = "dance"\n')
    file_with(tmp_path, "broken", "def\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x80")
    before = sorted(tmp_path.iterdir())
    assert cli.main(["exercise", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["check", "x.py", "--hint", "-1"], ["check"], [], ["start", "mean"]])
def test_bad_arguments_are_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["exercise", *arguments])
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_check_writes_nothing_beside_the_file(tmp_path):
    path = file_with(tmp_path, "mean", exercise("mean").solution())
    environment = {"PYTHONPATH": str(ROOT.parent), "PATH": ""}
    command = [sys.executable, "-m", "tinygrad_norm", "exercise", "check", str(path)]
    assert subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert [*tmp_path.iterdir()] == [path]


# In Python: for classes.


def test_judge_takes_files_modules_and_namespaces(tmp_path):
    path = file_with(tmp_path, "mean", exercise("mean").solution())
    assert judge(path).right
    assert judge(str(path)).right
    assert judge(exercise("mean").module).right
    assert judge({"backward": exercise("mean").module.backward}, "mean").right
    with pytest.raises(UnknownExercise, match="no exercise 'dance'"):
        judge({}, "dance")
    with pytest.raises(UnknownExercise, match="does not name its exercise"):
        judge({"backward": exercise("mean").module.backward})
    with pytest.raises(FileNotFoundError):
        judge(tmp_path / "missing.py")


def test_a_class_can_use_judge_in_a_pytest_file(tmp_path):
    """The example of docs/exercises.md: one test for each student's file."""
    page = (ROOT.parent / "docs" / "exercises.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import pytest.*?)```", page, re.DOTALL)
    answers = tmp_path / "answers"
    answers.mkdir()
    file_with(answers, "ada", exercise("mean").solution())
    file_with(answers, "bob", exercise("mean").stub())
    file_with(tmp_path, "test_answers", example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_answers.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout
    assert "it is not filled in yet" in done.stdout


def cells(name, tmp_path):
    path = tmp_path / f"{name}.ipynb"
    assert cli.main(["exercise", "start", name, "-o", str(path)]) == 0
    page = json.loads(path.read_text(encoding="utf-8"))
    assert (page["nbformat"], page["nbformat_minor"]) == (4, 4)
    return path, ["".join(cell["source"]) for cell in page["cells"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_the_statement_the_stub_and_a_check(name, tmp_path, capsys):
    _, (statement, stub, _, checks) = cells(name, tmp_path)
    assert exercise(name).title in statement
    assert not ast.get_docstring(ast.parse(stub))
    capsys.readouterr()
    for functions, right in ((stub, False), (exercise(name).solution(), True)):
        namespace = {}
        exec(functions, namespace)
        exec(checks, namespace)
        assert capsys.readouterr().out.startswith(f"Exercise {name}: {'right' if right else 'not right yet'}.")


def test_a_notebook_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="notebooks need the browser extra")
    nbclient = pytest.importorskip("nbclient", reason="notebooks need the browser extra")
    path, _ = cells("normalize", tmp_path)
    page = nbformat.read(path, 4)
    nbformat.validate(page)
    nbclient.NotebookClient(page, timeout=120, kernel_name="python3").execute()
    said = page.cells[-1].outputs[0].text
    assert said.startswith("Exercise normalize: not right yet.")
    assert 'check("normalize", forward, backward, hints=1)' in said


def test_a_notebook_is_judged_as_a_file_is(tmp_path, capsys):
    path, (_, stub, _, _) = cells("mean", tmp_path)
    assert cli.main(["exercise", "check", str(path)]) == 1
    assert "it is not filled in yet" in capsys.readouterr().out
    filled = stub.replace('raise NotImplementedError("fill this in")', "return np.ones_like(x) * g / len(x)")
    for code, status, words in ((f"%pip list\n!ls\n{filled}", 0, "right"), (f"{filled}\n1 / 0", 1, ": 1 / 0)")):
        page = json.loads(path.read_text(encoding="utf-8"))
        page["cells"][1]["source"] = code
        path.write_text(json.dumps(page), encoding="utf-8")
        assert cli.main(["exercise", "check", str(path)]) == status
        assert words in capsys.readouterr().out
    path.write_text("{}", encoding="utf-8")
    assert cli.main(["exercise", "check", str(path)]) == 2
    assert "no notebook" in capsys.readouterr().err


def test_check_prints_hints(capsys):
    check("centre", exercise("centre").module.constant_mean, hints=1)
    out = capsys.readouterr().out
    assert "no function backward" in out  # the mistake has a name of its own
    assert "Hint 1 of 3" in out
