"""State files: what is written comes back, a broken file is one clear error, and nothing is lost on the way."""

import json
import os
import pickle
import stat

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn

pytest.importorskip("safetensors", reason="state files need the extra 'files'")


def model(seed=0):
    network = nn.Sequential(nn.Linear(3, 4, rng=seed), nn.BatchNorm1d(4), nn.Tanh())
    network(np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32))
    return network


def test_a_model_comes_back(tmp_path):
    first, second = model(0), model(1)
    tn.save(tmp_path / "m.safetensors", first)
    second.load_state_dict(tn.load(tmp_path / "m.safetensors"))
    for key, value in first.state_dict().items():
        assert_array_equal(second.state_dict()[key], value)
        assert second.state_dict()[key].dtype == value.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_dicts_of_arrays_and_tensors_in_any_layout(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4)).astype(np.float16)
    entries = {"transposed": x.T, "strided": x[::2], "tensor": tn.tensor(x), "scalar": np.array(3), "empty": x[:0]}
    tn.save(tmp_path / "d", entries)
    loaded = tn.load(tmp_path / "d")
    assert set(loaded) == set(entries)
    for key, value in entries.items():
        plain = value.data if isinstance(value, tn.Tensor) else value
        assert_array_equal(loaded[key], plain)
        assert loaded[key].dtype == plain.dtype


@pytest.mark.parametrize("damage", ["truncated", "header", "pickle", "empty", "text"])
def test_v17_a_file_that_is_not_complete_is_one_error_that_names_it(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    tn.save(path, model())
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-5],
            "header": content[:4],
            "pickle": pickle.dumps({"weight": np.ones(3)}),
            "empty": b"",
            "text": b"not a state file at all",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"m\.safetensors is not a complete safetensors file"):
        tn.load(path)


def test_v17_saving_is_atomic(tmp_path, monkeypatch):
    """If writing fails the old file stands, and nothing is left beside it."""
    path = tmp_path / "m.safetensors"
    tn.save(path, model(0))
    before = path.read_bytes()

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr("tinygrad_norm.nn.checkpoint.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        tn.save(path, model(1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        tn.load(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_mode_that_others_have(tmp_path, umask):
    before = os.umask(umask)
    try:
        tn.save(tmp_path / "m", {"x": np.ones(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o666 & ~umask


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no such type")


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"__metadata__": np.ones(2)}, ValueError, "'__metadata__' is reserved"),
        ({3: np.ones(2)}, TypeError, "keys of a state must be strings, not 3"),
        ({"absent": None}, TypeError, "'absent' has dtype object"),
        ({"text": np.array(["a"])}, TypeError, "'text' has dtype <U1"),
        ({"wide": np.ones(2, np.longdouble)}, TypeError, f"'wide' has dtype {np.dtype(np.longdouble)}"),
        ({"complex": np.ones(2, complex)}, TypeError, "'complex' has dtype complex128"),
        ({"ragged": [[1.0], [1.0, 2.0]]}, TypeError, "'ragged' cannot be read as an array"),
        ({"foreign": Unreadable()}, TypeError, "'foreign' cannot be read as an array: no such type"),
    ],
)
def test_what_a_file_cannot_hold_is_named_before_anything_is_written(tmp_path, entry, error, words):
    path = tmp_path / "m"
    tn.save(path, {"old": np.ones(1)})
    with pytest.raises(error, match=words):
        tn.save(path, {"good": np.ones(2)} | entry)
    assert list(tn.load(path)) == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_whole_file_of_dtypes_that_numpy_has_not_is_said_to_be_that(tmp_path):
    header = json.dumps(
        {
            "a.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
            "b": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [4, 6]},
            "c": {"dtype": "U8", "shape": [2], "data_offsets": [6, 8]},
        }
    ).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"m\.safetensors contains dtypes that NumPy does not support") as error:
        tn.load(path)
    assert "'a.weight' has dtype BF16" in str(error.value)
    assert "'b' has dtype F8_E4M3" in str(error.value)
    assert "'c'" not in str(error.value)
