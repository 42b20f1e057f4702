"""Tuned constants of the maps of compositions.

Those of the fit of a pixel were set by eye on ``python benchmarks/bench_spectra.py map``, which prints the
errors of the fractions and the coverage of their uncertainties; none of its maps was held out.
"""

PASSES = 2
"""Fits of a pixel: the first with the variance of the mean spectrum of its region, the second with its own
one."""

PRIOR_COUNTS = 10.0
"""Counts with which the mean spectrum of a region enters the expected variance of a pixel."""

RIDGE, GRADIENT_TOLERANCE = 1e-10, 1e-13
"""Added to the diagonal of the scaled normal equations; smallest gradient at which an amplitude of 0 is the
best."""

LEAST_SHARE = 1e-9
"""Smallest share of the counts of the mean spectrum in a bin."""

# --- Regions

MOST_SAMPLED = 32_768
"""Pixels of which the regions are found; all others are assigned to them."""

LEAST_BAND, LEAST_TYPICAL = 0.004, 0.5
"""Smallest share of the counts in a band of the principal components; pixels with less than this share of the
median counts do not define regions."""

EDGE_FACTOR, MOST_COMPONENTS = 1.1, 8
"""An eigenvalue is significant above this multiple of the Marchenko-Pastur edge; most components."""

MOST_REGIONS, PATIENCE = 8, 2
"""Most regions; numbers of regions without a lower BIC before the search ends."""

DIFFERENCE = 5.0
"""Significance in standard deviations of the difference of two regions; they are merged below it."""

MORE_SIGMAS = 1.0
"""What the significance of an element that the whole map does not show must have above ``n_sigma``."""

LEAST_REGION_COUNTS, LEAST_REGION_PIXELS = 500, 4
"""Counts and pixels of a region that is analysed."""

LEAST_VARIANCE = 1e-2
"""Added to the variances of a region in the space of the components, where the noise is 1."""

# --- Residuals

WINDOW_REACH, EXCESS_ERROR, LEAST_EXCESS = 3, 0.05, 5.0
"""Bins on either side in a window of residuals, relative error of the fit, and significance in standard
deviations of a pixel that is analysed again."""

MOST_GROUPS, CHANCE = 6, 1e-4
"""Groups of pixels with an excess at the same energy that are analysed, and probability below which such a
group is no accident."""

# --- Energy losses

BACKGROUND_POWERS = (0, 1, 2)
"""Powers of ln E that multiply the background of the region."""

NOISE_PIXELS = 256
"""Pixels whose residuals give the noise of the detector."""

LEAST_LEVEL, LEAST_GAIN = 1e-3, 1e-6
"""Smallest counts of a bin, and smallest variance of a count, relative to the mean counts of the bins."""
