"""Tuned constants of powder patterns.

The harsh preset, the scattering near the direct beam and the removal of the background were set so that
patterns look like those of 301 minerals that the RRUFF project measured (minerals.npz). All 301 patterns were
used for a first description, those of the even rows in the last round. `python benchmarks/bench_gap.py
minerals.npz` trains trees to tell measured from simulated patterns and so measures the remaining difference
(benchmarks/README.md, "What still tells simulated powders from measured ones"). Trials of single values are
not recorded.
"""

from scipy.stats import lognorm, loguniform, norm

from xtalsk.simulation._conditions import Sometimes

HARSH = {
    "two_theta": (5.0, 90.0, 0.01),
    "ka2": norm(0.49, 0.03),
    "u": 0.0,
    "v": 0.0,
    "w": lognorm(s=0.6, scale=5e-4),
    "crystallite_size": lognorm(s=0.5, scale=2300),
    "microstrain": loguniform(2e-5, 1.5e-3),
    "asymmetry": (0.003, 0.01),
    "zero_shift": norm(0.048, 0.025),
    "displacement": norm(0.0, 0.02),
    "strain": Sometimes(0.3, (0.0, 0.004), otherwise=0.0006),
    "zoning": loguniform(2e-4, 5e-3),
    "b_shift": (0.0, 1.0),
    "march_parameter": Sometimes(0.6, loguniform(0.35, 1.5), otherwise=1.0),
    "line_scatter": loguniform(0.1, 0.6),
    "impurity": Sometimes(0.6, loguniform(0.01, 0.25)),
    "line_counts": lognorm(s=0.95, scale=65000),
    "background": lognorm(s=0.85, scale=31),
    "air": (0.0, 0.06),
    "hump": (0.0, 0.05),
    "hump_position": (30.0, 50.0),
    "hump_width": (20.0, 50.0),
    "low_angle_scatter": lognorm(s=0.6, scale=0.35),
    "waviness": (0.0, 0.4),
    "background_removed": 1.0,
    "full_scale": 1000.0,
}
"""Fields of `PowderConditions.harsh`, set on the 301 minerals.

bench_gap.py is hardly sensitive to shifts, strain, texture and zoning.
"""

# background; how the value was set is not recorded
AIR_DECAY = (3.0, 30.0)  # range of the decay of scattering by air, in degrees of 2θ

# scattering near the direct beam, set on the 301 minerals; gauge: bench_gap.py
LOW_ANGLE_EDGE = 7.4  # 2θ in degrees at which the scattering has fallen to half
LOW_ANGLE_EDGE_WIDTH = 0.35  # degrees: width of that logistic edge
LOW_ANGLE_HUMP = (9.8, 1.2, 0.3)  # 2θ and width in degrees, and height of the hump beside it
LOW_ANGLE_REMAINDER = (0.1, 0.5)  # share left after removal: median, standard deviation of its logarithm
REMAINDER_STEP = 0.75  # degrees over which the remainder changes
REMAINDER_SPREAD = 0.9  # standard deviation of the logarithm of the remainder from step to step

# removal of the background, set on the 301 minerals; gauge: bench_gap.py
OPENING_DEGREES = (0.6, 1.5)  # range of the window of the morphological opening, log-uniform
BASELINE_DEPTH = (1.36, 0.13)  # depth below the lower edge, in standard deviations of counts: mean and spread
LAST_PINNED_PROBABILITY = 0.4  # share of the patterns whose removed background ends at the last point
BLOCK = 16  # points over which the background is taken as constant
EDGE = 16  # points over which the background comes down from the first point
WANDER = 0.19  # random wander of the depth from block to block, in standard deviations of counts
WANDER_ROUGHNESS = 0.4  # share of single blocks in the wander, beside a mean over three blocks
LOWEST_VARIANCE = 0.25  # smallest variance of counts that enters the depth

# zoned crystals; how the value was set is not recorded
ZONE_SHARE = (0.1, 0.5)  # range of the share of the smaller part

# line widths; tests/simulation/test_powder.py checks that patterns are right to 1% of the strongest point
WIDTH_RATIO = 1.2  # ratio of neighbouring widths between which lines are interpolated
MOST_WIDTHS = 12  # at most this many widths a pattern, which limits the time
N_WIDTH_SAMPLES = 64  # angles at which the change of the width is measured
EQUAL_WIDTHS = 0.01  # change of the logarithm of the width below which all lines have one width
WIDTH_ANGLES = (0.5, 179.0)  # 2θ in degrees; widths outside this range are taken from its ends
TAIL_ANGLES = (2.0, 40.0)  # 2θ in degrees; only here the change of the tail adds to that of the width

# speed; benchmarks/bench_simulation.py measures it, the choice is not recorded
PATTERNS_PER_CHUNK = 64  # patterns whose counts are in memory at once
PATTERNS_PER_BLOCK = 4  # patterns of one Fourier transform of the compiled loops
SMALLEST_PADDING = 128  # points behind the axis; more are doubled, so that there are few lengths
