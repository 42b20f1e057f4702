"""Tuned constants that all simulated instruments share.

They set speed and rounding, not physics. `benchmarks/bench_simulation.py` measures the speed. Where a comment
does not say what was compared, it is not recorded.
"""

# Poisson counts on a CPU
LARGEST_TABULATED_RATE = 16  # expected counts up to this one are looked up in the table of quantiles
RATES_PER_COUNT = 16  # the table has this many expectations for each whole count
QUANTILE_SLOTS = 4096  # equally likely slots of each expectation; errors of probabilities are below 1 / slots
BLOCK_OF_COUNTS = 65_536  # counts that a thread draws at once

# line profiles
ROWS_IN_CACHE = 16  # patterns of one FFT on a CPU; 256 at once were 3 to 6 times slower than 4 to 16
PADDING_WIDTHS = 20  # rows are padded by this many times the largest full width against wrapping
