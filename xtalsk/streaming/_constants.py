"""Tuned constants of streams. "Not recorded" means that no data or command is on record for a choice."""

PART_SIZE = 256  # consecutive specimens of a chunk that share one set of conditions; not recorded

SAMPLE_SIZE = 2048
"""Specimens from which the network computes the means and standard deviations of tables. Not recorded. It was
8192 when the powder pipeline of `load_pretrained` was trained."""

POWDER_BATCH = {"cpu": 32, "cuda": 256}  # powder patterns rendered at once, for speed; not recorded
RING_BATCH = {"cpu": 8, "cuda": 64}  # ring images rendered at once, for speed; not recorded

RANGE_MARGIN = 0.02  # relative margin of the range of q in which a crystal must have a line; not recorded

COMPRESSION_LEVEL = 1
"""Of zstd in shards. A chunk of 2048 features of powders and formulas (738 columns) takes 2.6 MB and 34 ms to
write, instead of 6.2 MB and 18 ms without compression (`python benchmarks/bench_io.py streams`)."""

LEFT_BEHIND = 3600.0  # seconds after which an incomplete file counts as left behind by a killed process
