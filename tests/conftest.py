"""Hypothesis profiles: `ci` is quick and the same every time, `thorough` searches further and at random."""

import os
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# What it caches about the sources would otherwise stand in the work tree.
set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "hypothesis"))

settings.register_profile(
    "ci",
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the first draw of a strategy builds it; machines differ
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=500, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
