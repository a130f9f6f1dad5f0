"""State files: what is written comes back, a broken file is one clear error, and nothing is lost on the way."""

import pickle

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
