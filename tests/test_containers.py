"""Modules that hold modules: they work like lists and dicts, and what they hold is part of the model."""

import copy
import pickle
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn


def layers(n: int) -> list[Any]:
    return [nn.Linear(2, 2, rng=i) for i in range(n)]


def state_keys(model: Any) -> list[str]:
    return [key.removesuffix(".weight") for key in model.state_dict() if key.endswith("weight")]


ROWS = {"ModuleList": nn.ModuleList, "Sequential": lambda modules=(): nn.Sequential(*modules)}
every_row = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)


@every_row
def test_a_row_of_modules_does_what_a_list_does(make):
    """Every operation on both, side by side."""
    a, b, c, d, e, f = layers(6)
    row, plain = make([a, b, c]), [a, b, c]

    def same() -> None:
        assert list(row) == plain
        assert len(row) == len(plain)
        assert [row[i] for i in range(-len(plain), len(plain))] == plain * 2
        assert state_keys(row) == [str(i) for i in range(len(plain))]
        assert list(row.parameters()) == [p for layer in plain for p in (layer.weight, layer.bias)]

    same()
    assert row.append(d) is row
    plain.append(d)
    same()
    assert row.extend(iter([e])) is row
    plain.extend([e])
    same()
    for index in (0, 2, -1, len(plain) + 2):
        new = nn.Linear(2, 2)
        row.insert(index, new)
        plain.insert(index, new)
        same()
    row[1] = row[-2] = f
    plain[1] = plain[-2] = f
    assert list(row) == plain
    row[-2] = plain[-2] = nn.Linear(2, 2)
    same()
    del row[1], plain[1]
    same()
    assert row.pop(2) is plain.pop(2)
    assert row.pop() is plain.pop()
    same()
    assert list(row.pop(slice(2))) == plain[:2]
    del plain[:2]
    same()
    del row[::2], plain[::2]
    same()
    row += [a]
    plain += [a]
    same()
    row.extend(row[:0])
    both = row + make([b])
    assert type(both) is type(row)
    assert list(both) == [*plain, b]
    same()
    assert a in row
    assert b not in row


@every_row
@pytest.mark.parametrize("index", [slice(None), slice(1, None), slice(None, -1), slice(None, None, -1), slice(5, 9)])
def test_slices_are_of_the_same_kind_and_hold_the_same_modules(make, index):
    row = make(layers(3))
    part = row[index]
    assert type(part) is type(row)
    assert list(part) == list(row)[index]
    assert len(row) == 3


@every_row
def test_what_a_row_refuses_leaves_it_as_it_was(make):
    row = make(layers(2))
    before = list(row)
    for refused, error in [
        (lambda: row.append(np.tanh), TypeError), (lambda: row.extend([nn.Tanh(), None]), TypeError),
        (lambda: row.insert(0, "x"), TypeError), (lambda: row.insert(3, nn.Tanh()), IndexError),
        (lambda: row.insert(-3, nn.Tanh()), IndexError), (lambda: row.__setitem__(0, 1.0), TypeError),
        (lambda: row.__setitem__(2, nn.Tanh()), IndexError), (lambda: row.__delitem__(2), IndexError),
        (lambda: row[2], IndexError), (lambda: row[-3], IndexError), (lambda: row.pop(5), IndexError),
        (lambda: row["0"], TypeError), (lambda: row + 3, TypeError),
    ]:  # fmt: skip
        with pytest.raises(error):
            refused()
        assert list(row) == before
    with pytest.raises(TypeError, match=r"requires Modules, not ufunc \(layer 0\)"):
        row.append(np.tanh)


def test_sequential_takes_names_and_slices_keep_them():
    named = OrderedDict(first=nn.Linear(2, 3, rng=0), act=nn.Tanh(), last=nn.Linear(3, 1, rng=1))
    model = nn.Sequential(named)
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert_array_equal(model(x).data, named["last"](named["act"](named["first"](x))).data)
    assert model.act is model[1] is named["act"]
    assert list(model[1:].state_dict()) == ["last.weight", "last.bias"]
    assert_array_equal(model[1:](model[:1](x)).data, model(x).data)
    model.append(nn.Tanh())
    assert [name for name, _ in model.children()] == ["first", "act", "last", "3"]
    model[1] = nn.ReLU()
    assert [name for name, _ in model.children()] == ["first", "act", "last", "3"]
    part = nn.Sequential(*layers(3))[1:].append(nn.Linear(2, 2))
    assert state_keys(part) == ["1", "2", "3"]
    for wrong in ({"a.b": nn.Tanh()}, {"": nn.Tanh()}, {"forward": nn.Tanh()}, {"training": nn.Tanh()}):
        with pytest.raises(KeyError):
            nn.Sequential(wrong)


def test_a_dict_of_modules_does_what_a_dict_does():
    a, b, c = layers(3)
    held, plain = nn.ModuleDict({"a": a, "b": b}), {"a": a, "b": b}

    def same() -> None:
        assert list(held) == list(held.keys()) == list(plain)
        assert list(held.values()) == list(plain.values())
        assert list(held.items()) == list(plain.items())
        assert len(held) == len(plain)
        assert all(held[key] is plain[key] for key in plain)
        assert state_keys(held) == list(plain)

    same()
    held["c"] = plain["c"] = c
    same()
    held["a"] = plain["a"] = c
    assert held["a"] is c
    held["a"] = plain["a"] = a
    for new in ({"d": nn.Linear(2, 2)}, [("e", nn.Linear(2, 2)), ("b", c)], nn.ModuleDict({"f": nn.Linear(2, 2)})):
        held.update(new)
        plain.update(new)
    assert held["b"] is c
    held["b"] = plain["b"] = b
    same()
    assert held.pop("c") is plain.pop("c") is c
    del held["d"], plain["d"]
    same()
    assert "a" in held
    assert "d" not in held
    assert "training" not in held
    held.clear()
    plain.clear()
    same()
    assert len(nn.ModuleDict()) == len(nn.ModuleDict(None)) == len(nn.ModuleList(None)) == 0


def test_a_dict_of_modules_is_itself_and_can_be_looked_up():
    a = nn.Tanh()
    one, other = nn.ModuleDict({"a": a}), nn.ModuleDict({"a": a})
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("", nn.Tanh(), KeyError), ("a.b", nn.Tanh(), KeyError), ("keys", nn.Tanh(), KeyError),
        ("training", nn.Tanh(), KeyError), (3, nn.Tanh(), TypeError), ("a", np.tanh, TypeError), ("a", None, TypeError),
    ],
)  # fmt: skip
def test_what_a_dict_of_modules_refuses(key, value, error):
    held = nn.ModuleDict({"a": nn.ReLU()})
    with pytest.raises(error):
        held[key] = value
    assert list(held) == ["a"]
    for missing in (lambda: held["b"], lambda: held.pop("b"), lambda: held.__delitem__("training")):
        with pytest.raises(KeyError):
            missing()


class Model(nn.Module):
    """Blocks in a list and heads in a dict, one inside the other."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2, rng=i), nn.BatchNorm1d(2)) for i in range(2))
        self.heads = nn.ModuleDict({"a": nn.Linear(2, 1, rng=5), "b": nn.ModuleList([nn.Linear(2, 3, rng=6)])})

    def forward(self, x: Any, head: str) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) if head == "a" else self.heads["b"][0](x)


def test_models_see_inside():
    model, x = Model(), np.random.default_rng(0).normal(size=(5, 2))
    paths = [path for path, _ in model.named_parameters()]
    assert paths[:2] == ["blocks.0.0.weight", "blocks.0.0.bias"]
    assert paths[-4:] == ["heads.a.weight", "heads.a.bias", "heads.b.0.weight", "heads.b.0.bias"]
    assert len(paths) == 12
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()(x, "b").sum().backward()
    assert model.heads["b"][0].weight.grad is not None
    assert model.heads["a"].weight.grad is None
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(twin.state_dict()) == list(model.state_dict())
        assert_array_equal(twin.eval()(x, "a").data, model.eval()(x, "a").data)
        assert twin.blocks[0][0].weight is not model.blocks[0][0].weight
    folded = tn.fold_batch_norm(model)
    assert all(isinstance(block[1], nn.Identity) for block in folded.blocks)
    with tn.observe(model) as seen:
        model(x, "a")
    assert [path for path, calls in seen.items() if calls] == [
        "blocks.0.0",
        "blocks.0.1",
        "blocks.1.0",
        "blocks.1.1",
        "heads.a",
    ]
    assert repr(nn.ModuleDict({"t": nn.ModuleList([nn.Tanh()])})) == (
        "ModuleDict(\n  (t): ModuleList(\n    (0): Tanh()\n  )\n)"
    )
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        model.blocks(x)


def test_a_plain_list_of_modules_is_not_part_of_the_model_and_a_warning_says_so():
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Linear(2, 2), []
            self.rest.append(nn.Linear(2, 2))

    class Told(nn.Module):
        """Known elsewhere, and things that are no Modules: nothing to warn of."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers(2))
            self.order, self.kinds, self.sizes = [*self.layers][::-1], [nn.Linear], {"a": (1, 2)}

    with pytest.warns(
        UserWarning, match=r"Plain\.rest is a list of Modules, so their parameters are not found.*ModuleList"
    ):
        assert len(list(Plain().parameters())) == 2
    for kind in (lambda m: (m,), lambda m: {"x": m}):
        model = Plain()
        model.rest = kind(nn.Tanh())
        with pytest.warns(UserWarning, match="of Modules"):
            model.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(Told().parameters())) == 4
