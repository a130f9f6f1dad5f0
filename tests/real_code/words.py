"""Words by which a diagnosis is known to be true of a kind of fault: several ways to say each."""

SIGN = (" sign", "flipped", "negat", "minus", "opposite")
IGNORES_G = ("not depend on", "not linear", "ignore", "not multiplied", "independent of the cotangent", "linear in")
BATCH = ("batch size", "number of samples", "number of rows", "a mean is taken", "a sum is taken", "averag")
SIZE = ("axis size", "number of", "size of", "1 / n", "n for n", " mean", "divid")
FACTOR = ("factor", " times", "multiple", "scale")
TRANSPOSED = ("transpos", "swapped", "reversed axes")
ELEMENTWISE = ("diagonal", "elementwise", "element by element", "mixes", "entries alone", "along no axis")
NOT_SUMMED = ("sum is missing", "not summed", "unreduced", "broadcast", "reduced", "keepdims")
WRONG_AXIS = ("axis", "axes")
BY_SIGN = ("mask", "sign of", "where x", "negative", "positive", "below", "above")
MISSING = ("missing", "zero", "not passed", "only part", "left out", "lacks")
ONE_USE = ("missing", "part of", "time step", " uses", "only one", "one of", "accumulat", "overwrit", "a sum over")
REPEATED = ("repeated", "duplicate", "several times", "more than once", "overwrit", "accumulat", " count", "add.at")
CONSTANT = ("constant", "missing", "path through", "quotient", "parallel", "statistic")
EPS = (" eps", "standard deviation", "a different factor", "variance")
FLIPPED = ("flipped", "reversed", "mirror", "backwards")
SHIFTED = ("shift", "offset", "rolled", "padding", "moved", "position")
SWAPPED = ("swap", "exchang", "another input", "other input", " order")

# What misleads where a function is taken of each element alone, or where there is no normalization.
STATISTICS = ("variance", "standard deviation", "path through the mean", "batch size", "transpos")
