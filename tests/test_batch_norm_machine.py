"""BatchNorm as a machine: any sequence of training, evaluation, loading and resetting, next to a plain-Python model."""

import copy
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.testing import assert_allclose

import tinygrad_norm as tn

EPS = 1e-5
halves = st.integers(-40, 40).map(lambda n: n / 2)
momenta = st.none() | st.sampled_from([0.0, 0.1, 0.25, 1.0])


class BatchNormMachine(RuleBasedStateMachine):
    """The model knows exact fractions and loops; nothing of NumPy's or the package's means and variances."""

    @initialize(momentum=momenta, channels=st.integers(1, 3), affine=st.booleans())
    def make(self, momentum, channels, affine):
        self.channels = channels
        self.layer = tn.nn.BatchNorm1d(channels, momentum=momentum, affine=affine, dtype=np.float64)
        self.momentum, self.training = momentum, True
        self.reset_model()
        self.saved = None

    def reset_model(self):
        self.mean, self.var, self.count = [Fraction(0)] * self.channels, [Fraction(1)] * self.channels, 0

    def draw(self, data, least):
        rows = data.draw(
            st.lists(st.lists(halves, min_size=self.channels, max_size=self.channels), min_size=least, max_size=5)
        )
        return np.array(rows, float).reshape(-1, self.channels)

    @rule(data=st.data())
    def forward(self, data):
        x = self.draw(data, 2)
        y = self.layer(x).data
        columns = [[Fraction(v) for v in column] for column in x.T.tolist()]
        means = [sum(column) / len(column) for column in columns]
        squares = [sum((v - m) ** 2 for v in column) for column, m in zip(columns, means, strict=True)]
        biased = [s / len(x) for s in squares]
        if self.training:
            self.count += 1
            share = Fraction(1, self.count) if self.momentum is None else Fraction(self.momentum)
            unbiased = [s / (len(x) - 1) for s in squares]
            self.mean = [old + share * (new - old) for old, new in zip(self.mean, means, strict=True)]
            self.var = [old + share * (new - old) for old, new in zip(self.var, unbiased, strict=True)]
        used = (means, biased) if self.training else (self.mean, self.var)
        for column, mean, var, found in zip(columns, *used, y.T, strict=True):
            want = [float(v - mean) / (float(var) + EPS) ** 0.5 for v in column]
            assert_allclose(found, want, rtol=1e-9, atol=1e-9)

    @rule()
    def forward_of_nothing(self):
        assert self.layer(np.zeros((0, self.channels))).shape == (0, self.channels)

    @rule(data=st.data())
    def one_sample(self, data):
        """In training it is refused and nothing moves; in eval mode it is as good as any."""
        x = self.draw(data, 1)[:1]
        try:
            self.layer(x)
        except ValueError:
            assert self.training
        else:
            assert not self.training

    @rule(mode=st.booleans())
    def train_or_eval(self, mode):
        self.layer.train(mode)
        self.training = mode

    @rule(momentum=momenta)
    def change_momentum(self, momentum):
        self.layer.momentum = self.momentum = momentum

    @rule()
    def reset(self):
        self.layer.reset_running_stats()
        self.reset_model()

    @rule()
    def save(self):
        self.saved = (self.layer.state_dict(), (self.mean, self.var, self.count))

    @rule()
    def load(self):
        if self.saved is not None:
            state, (self.mean, self.var, self.count) = self.saved
            self.layer.load_state_dict(state)

    @rule()
    def refuse_to_load(self):
        state = self.layer.state_dict() | {"running_var": np.ones(self.channels + 1)}
        state["running_mean"] = state["running_mean"] + 1
        try:
            self.layer.load_state_dict(state)
        except ValueError:
            return
        raise AssertionError("a wrong shape was loaded")

    @rule()
    def go_on_with_a_copy(self):
        self.layer = copy.deepcopy(self.layer)

    @rule()
    def look_without_touching(self):
        if self.training:
            x = np.arange(3.0 * self.channels).reshape(3, -1) ** 2
            tn.check_gradients(self.layer, x, seed=0)

    @invariant()
    def buffers_are_the_models(self):
        if hasattr(self, "layer"):
            assert_allclose(self.layer.running_mean, [float(v) for v in self.mean], rtol=1e-9, atol=1e-9)
            assert_allclose(self.layer.running_var, [float(v) for v in self.var], rtol=1e-9, atol=1e-9)
            assert self.layer.num_batches_tracked == self.count
            assert self.layer.running_var.flags.owndata


TestBatchNormMachine = BatchNormMachine.TestCase
