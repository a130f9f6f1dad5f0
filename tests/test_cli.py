"""The command line: what it answers, and how it fails."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import cli
from tinygrad_norm.nn.family import FAMILY


def instead_of_the_tour(monkeypatch, run):
    """Wherever the command takes it from."""
    monkeypatch.setattr("tinygrad_norm.tour.run", run)
    monkeypatch.setattr(cli, "run", run, raising=False)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_norm", *arguments],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def test_the_module_runs_and_knows_its_version():
    done = command("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"tinygrad_norm {tn.__version__}", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["tinygrad-norm", "tour", "handwritten digits"]),
        (["tour", "--help"], ["--out DIR", "--seed", "default: 0"]),
    ],
)
def test_help(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for word in words:
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: command"), (["dance"], "invalid choice: 'dance'"), (["tour"], "required: --out"),
        (["tour", "--out", "x", "--seed", "-1"], "--seed must not be negative"), (["tour", "--out"], "expected one"),
        (["tour", "--out", "x", "--seed", "one"], "invalid int value: 'one'"),
        (["tour", "--out", "x", "y"], "unrecognized arguments: y"),
    ],
)  # fmt: skip
def test_bad_arguments_are_a_usage_error_and_make_nothing(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line_and_status_1(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "inside"):
        done = command("tour", "--out", str(out))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("tinygrad-norm: ")
        assert str(out) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_tour_is_told_where_and_with_which_seed(monkeypatch, tmp_path):
    calls = []
    instead_of_the_tour(monkeypatch, lambda *arguments: calls.append(arguments))
    assert cli.main(["tour", "--out", str(tmp_path)]) == 0
    assert cli.main(["tour", "--seed", "5", "--out", str(tmp_path)]) == 0
    assert calls == [(str(tmp_path), 0), (str(tmp_path), 5)]


def test_a_picture_that_cannot_be_made_is_one_line_and_status_1(monkeypatch, tmp_path, capsys):
    """Where neither `dot` nor WebAssembly works, the error says what to install; a traceback would bury it."""

    def run(*arguments):
        raise tn.graph.RenderError("install Graphviz")

    instead_of_the_tour(monkeypatch, run)
    assert cli.main(["tour", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "tinygrad-norm: install Graphviz\n"


def test_info_says_what_is_installed(capsys):
    assert cli.main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["numpy"] == np.__version__
    assert lines["tinygrad_norm"] == tn.__version__
    assert {"graphviz", "wasmtime", "typst", "matplotlib", "safetensors", "scipy", "dot"} <= set(lines)


def test_info_says_how_to_get_what_is_missing(capsys, monkeypatch):
    def version(package):
        if package == "safetensors":
            raise cli.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(cli.metadata, "version", version)
    assert cli.main(["info"]) == 0
    assert "not installed (state files; pip install 'tinygrad_norm[files]')" in capsys.readouterr().out


def test_info_norms_prints_the_family(capsys):
    assert cli.main(["info", "norms"]) == 0
    out = capsys.readouterr().out
    for member in FAMILY:
        row = next(line for line in out.splitlines() if line.startswith(f"{member.name}  "))
        for words in (member.wording, member.reduced, member.pattern, member.means):
            assert words in row
        assert f"\n{member.name}\n  function " in out
        assert member.paper in out
    assert max(map(len, out.splitlines())) <= 140


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch_norm", "--shape", "4,3"], ["layer_norm"], ["group_norm", "--shape", "2,6,2", "--groups", "3"],
        ["norms", "--shape", "2,4,2,2", "--groups", "2"], ["numpy:tanh", "--shape", "2,2"],
    ],
)  # fmt: skip
def test_explore_writes_one_page(arguments, capsys, tmp_path):
    assert cli.main(["explore", *arguments, "-o", str(tmp_path / "x.html")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'x.html'}: Page(")
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "not 'nope'"), (["batch_norm", "--shape", "4,3", "--shape", "3"], "--shape once, not 2 times"),
        (["instance_norm", "--shape", "4,3"], "more than one spatial element"), (["numpy:tanh"], "pass --shape"),
        (["builtins:max"], "has no signature: pass --shape"),
        (["nowhere:fn", "--shape", "2"], "No module named 'nowhere'"),
    ],
)  # fmt: skip
def test_explore_says_in_one_line_what_it_cannot_do(arguments, words, capsys, tmp_path):
    assert cli.main(["explore", *arguments, "-o", str(tmp_path / "x.html")]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
