"""The exercises, one file each: the statement, the right answer, and what the judge and the teacher know.

A file has two parts. Above the line that starts with `END` is a student's file with the answer in it: `start` writes it
with the functions in `FILL_IN` emptied, `solution` writes it as it is. Below are the inputs to judge by, the hints, and
wrong answers that students give. Each has a docstring that explains what is wrong, and `WRONG` names its mistake, a key
of `mistakes.toml`.
"""

END = "# The judge's part"
NAMES = (
    "multiply",
    "mean",
    "standard_deviation",
    "centre",
    "variance",
    "normalize",
    "batch_norm_parameters",
    "batch_norm",
    "batch_norm_images",
    "batch_norm_eval",
    "running_statistics",
    "layer_norm",
    "group_norm",
    "rms_norm",
    "fold",
    "own_norm",
)
"""In the order in which they are learned."""
