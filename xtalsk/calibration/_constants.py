"""Constants of the room; none of them was tuned on data."""

CHAIN = ("crystal_system", "point_group", "space_group")
"""Levels with a temperature each: those on which `FusionClassifier` trains."""

FLOOR = 1e-6
"""Probability that is spread evenly over all classes before a logarithm is taken."""

TEMPERATURE_SPREAD = 1.0
"""Standard deviation of the natural logarithm of a temperature before any specimen is known. It matters only
if there are few specimens, or if the classifier is right for all of them."""

LOG_TEMPERATURES = (-3.0, 3.0)
"""Range of the natural logarithm of a temperature."""

MIN_SPECIMENS = 30
"""Fewest specimens of a group that has temperatures of its own: a temperature then has an
error of about 20%."""

ALL = "all"
"""Name of the group of all specimens in the tables of temperatures."""

SHOWN = 3
"""Most labels that `predict_at` lists as open."""

LEAST_SHOWN = 0.05
"""`predict_at` lists open labels of at least this probability, and always the first."""

CAUTION = 0.5
"""`predict_at` begins with a caution if the library lacks the phase with more than this probability."""
