"""Containers next to PyTorch's: the keys of states after every operation, and what is refused."""

from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle


def made(nn: Any, widths: Any) -> list[Any]:
    """Layers that their shapes tell apart."""
    return [nn.Linear(1, n) for n in widths]


def shapes(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(value.shape)) for key, value in model.state_dict().items()]


def row(nn: Any, name: str, widths: Any) -> Any:
    return nn.ModuleList(made(nn, widths)) if name == "ModuleList" else nn.Sequential(*made(nn, widths))


def act(nn: Any, model: Any, choice: int, index: int, width: int) -> Any:
    """One operation; the model, or what comes of it."""
    new = nn.Linear(1, width)
    if choice == 0:
        model.append(new)
    elif choice == 1:
        model.insert(index, new)
    elif choice == 2:
        model[index - 1] = new
    elif choice == 3:
        del model[index - 1]
    elif choice == 4:
        model.extend(type(model)(*([[new, new]] if type(model).__name__ == "ModuleList" else [new, new])))
    elif choice == 5:
        model.pop(-1)
    elif choice == 6:
        del model[index:]
    else:
        model = model + model[:index]
    return model


@pytest.mark.parametrize("name", ["ModuleList", "Sequential"])
@pytest.mark.parametrize("seed", range(40))
def test_rows_keep_pytorchs_keys_through_random_operations(name, seed):
    rng = np.random.default_rng(seed)
    ours, theirs = (row(nn, name, range(1, 5)) for nn in (tn.nn, torch.nn))
    for _ in range(12):
        choice, width = int(rng.integers(8)), int(rng.integers(1, 9))
        if len(ours) == 0:
            choice = 0
        index = int(rng.integers(1, len(ours) + 1)) if len(ours) else 0
        ours, theirs = (act(nn, m, choice, index, width) for nn, m in ((tn.nn, ours), (torch.nn, theirs)))
        assert shapes(ours) == shapes(theirs)
        for part in (slice(1, None), slice(None, -1), slice(None, None, 2)):
            assert shapes(ours[part]) == shapes(theirs[part])


def test_names_of_layers_are_pytorchs():
    named = [{"a": nn.Linear(1, 2), "b": nn.Linear(2, 3)} for nn in (tn.nn, torch.nn)]
    ours, theirs = tn.nn.Sequential(named[0]), torch.nn.Sequential(torch.nn.modules.container.OrderedDict(named[1]))
    for operation in (lambda m: m, lambda m: m[1:], lambda m: m.append(m[0]), lambda m: m.pop(0) and m):
        assert shapes(operation(ours)) == shapes(operation(theirs))


def test_dicts_keep_pytorchs_keys_and_refuse_what_pytorch_refuses():
    results = []
    for nn in (tn.nn, torch.nn):
        held = nn.ModuleDict({"x": nn.Linear(1, 2), "y": nn.Linear(1, 3)})
        held["z"] = nn.Linear(1, 4)
        held.update([("y", nn.Linear(1, 5)), ("w", nn.ModuleList([nn.Linear(1, 6)]))])
        held.pop("x")
        results.append((list(held), shapes(held)))
        for key in ("", "a.b", "keys", "forward", "training"):
            with pytest.raises(KeyError):
                held[key] = nn.Linear(1, 1)
        for wrong in (3, None):
            with pytest.raises(TypeError):
                held[wrong] = nn.Linear(1, 1)
        with pytest.raises(TypeError):
            held["v"] = 3.0
    assert results[0] == results[1]
