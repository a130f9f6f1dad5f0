"""The exercises, one file each: the statement, the right answer, and what the judge and the teacher know.

A file has two parts. Down to the line that starts with `END`, it is a student's file with the answer in it: `start`
writes it with the functions in `FILL_IN` emptied, `solution` writes it as it is. Below stand the inputs to judge by,
the hints, and wrong answers that students give, each with a docstring that explains the mistake to its author.
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
