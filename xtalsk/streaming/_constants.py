"""Tuned constants of streams. "Not recorded" means that no data or command is on record for a choice."""

PART_SIZE = 256  # consecutive specimens of a chunk that share one set of conditions; not recorded

SAMPLE_SIZE = 2048
"""Specimens from which the network computes the means and standard deviations of tables. Not recorded. It was
8192 when `benchmarks/models/powder_chemistry.joblib` was trained."""

POWDER_BATCH = {"cpu": 32, "cuda": 256}  # powder patterns rendered at once, for speed; not recorded
RING_BATCH = {"cpu": 8, "cuda": 64}  # ring images rendered at once, for speed; not recorded

RANGE_MARGIN = 0.02  # relative margin of the range of q in which a crystal must have a line; not recorded
