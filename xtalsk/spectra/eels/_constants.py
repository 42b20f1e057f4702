"""Tuned constants of the analysis of energy-loss spectra.

It is not recorded on which spectra and with which commands these values were chosen. benchmarks/README.md
shows the results with these values: ``python benchmarks/bench_spectra.py losses --n 300`` for simulated
spectra, and ``python benchmarks/bench_spectra.py measured FOLDER`` for a measured spectrum of strontium
titanate.
"""

import numpy as np

# --- Bins -----------------------------------------------------------------------------------------------

# Lowest energy loss that is analysed, in eV: plasmons hide the edges below.
LOWEST_LOSS = 40.0
# Width of a bin as a share of its energy.
RELATIVE_BIN_WIDTH = 0.005
# Limits of the width of a bin, in eV.
NARROWEST_BIN, WIDEST_BIN = 1.0, 5.0
# A window is divided into at least this number of bins, if its channels and NARROWEST_WINDOW_BIN allow.
ENOUGH_BINS = 150
# Narrowest bin of a short window, in eV.
NARROWEST_WINDOW_BIN = 0.4
# Least number of channels and of bins with data.
LEAST_BINS = 24
# Relative error that no bin falls below.
LEAST_ERROR = 0.003
# Bins over which the height is averaged for the variance of few counts.
VARIANCE_BINS = 15
# Bins whose scatter is compared with the expected error at once.
SCATTER_SEGMENT = 30
# Channel groups whose scatter gives one point of the variance as a function of height.
VARIANCE_SEGMENT = 24
# Channels that are averaged for the estimate of the noise: (least number of channels, size of a group).
# Smaller spectra have groups of one channel.
GROUP_SIZES = ((600, 4), (200, 2))
# Variance of the third difference of independent values of variance one.
THIRD_DIFFERENCE = 20
# Least variance of a channel: a share of the squared step between count values, plus a floor.
LEAST_VARIANCE, VARIANCE_FLOOR = 0.05, 1e-12
# Least variance that sets the weight of a point, as a share of the usual variance at its height.
LEAST_USUAL_VARIANCE = 0.1
# Smoothing window for the scatter of the bins: (least number of bins, window in bins, standard deviation of
# the residuals for white noise).
ROUGHNESS_WINDOWS = ((60, 15, 0.85), (0, 9, 0.75))

# --- Unusable channels and the zero-loss peak -----------------------------------------------------------

# Channels of the median filters for the smooth spectrum and for the scatter around it.
SMOOTH_WINDOW, SCATTER_WINDOW = 15, 41
# Least scatter as a share of the smooth spectrum.
LEAST_SCATTER = 0.01
# A channel is a single outlier if its distance from the mean of its two neighbours exceeds this share of its
# distance from the smooth spectrum.
LONE_SHARE = 0.7
# A zero is a dead channel where the smooth spectrum is above this multiple of the scatter.
DEAD_SCATTER = 6
# A channel is an outlier at this multiple of the scatter.
OUTLIER_SCATTER = 12
# Least number of channels at the maximum of the spectrum that are called saturated.
LEAST_SATURATED = 3
# Distance from zero within which the highest peak is the zero-loss peak, in eV. Farther away the peak must
# pass the tests below.
ZERO_LOSS_RANGE = 15.0
# A spectrum with a zero-loss peak begins below this energy, in eV.
ZERO_LOSS_START = 2.0
# The zero-loss peak must be higher than the rest of the spectrum by this factor; channels within this
# distance in eV do not belong to the rest.
ZERO_LOSS_CONTRAST, ZERO_LOSS_DISTANCE = 2.0, 10.0
# A zero-loss peak far from zero: least share of its height in the two channels beside the highest one (a
# spike has none), and largest median below the peak as a share of the highest loss above it. Set by eye;
# the tests of tests/spectra/eels/test_zero_loss.py check them.
LEAST_PEAK_WIDTH, MOST_BEFORE_PEAK = 0.03, 0.2
# From this energy above the peak on (in eV), the spectrum must be lower than the peak by a factor: the first
# factor if the peak lies below LOW_AXIS_END (in eV), else the second. Plural scattering of a film of two mean
# free paths is 16 times lower 60 eV above the peak. White lines without background have at most ten times the
# height of their edge, and none below 100 eV has more than four times. Estimated, not fitted.
LOSS_DISTANCE, LOW_AXIS_END, PEAK_CONTRASTS = 60.0, 100.0, (10.0, 30.0)

# --- Templates ------------------------------------------------------------------------------------------

# Shifts of the onsets that are tried, in eV.
SHIFTS = np.arange(-10.0, 11.0, 2.0)
# Relative uncertainty of the cross-sections of a family; other families are not used.
UNCERTAINTY = {
    "K": 0.10, "L23": 0.15, "M45": 0.35, "M23": 0.5, "M1": 0.5,
    "N45": 0.6, "N23": 0.6, "N67": 0.8, "O45": 0.8,
}  # fmt: skip
# Families that can name an element; the others only explain part of a spectrum.
NAMING_FAMILIES = ("K", "L23", "M45")
# Lowest atomic number that an M45 edge can name.
LOWEST_M45_ELEMENT = 37
# A window must reach this far below and above an onset, in eV.
RANGE_BELOW, RANGE_ABOVE = 6.0, 15.0
# Least number of bins below and above an onset.
LEAST_BINS_BESIDE = 4
# Plural scattering in the templates: energy of a plasmon in eV, width of its replica of an edge in eV
# (standard deviation), and its share of the edge.
PLASMON_ENERGY, REPLICA_WIDTH, REPLICA_SHARE = 20.0, 6.0, 0.35
# Full width at half maximum of the white lines in the templates of white lines alone, in eV.
BROAD_LINES = 8.0
# Area of white lines over their height relative to the continuum, in eV.
LINE_HEIGHT = 4.0
# Energy below the onset at which white lines are cut off, in eV.
LINE_CUT = 8.0
# Beam for which shapes are computed: beam energy in keV, convergence and collection angle in mrad. Shapes
# hardly depend on the beam.
REFERENCE_BEAM = (200.0, 10.0, 20.0)
# Energy above the onset at which cross-sections of two beams are compared, in eV.
STRENGTH_AT = 25.0
# Poses, and waves of the background, are zero below this share of their height. Products leave out the bins
# in which they are zero. The value changes the speed, not the results.
NEGLIGIBLE = 1e-15
# Energy resolution of a spectrum without this metadata, in eV.
USUAL_RESOLUTION = 1.5

# --- Background -----------------------------------------------------------------------------------------

# Rounds of the asymmetric fit of the envelope.
ENVELOPE_ROUNDS = 6
# Number of falling exponentials in the envelope; slowest rate times the length of the window; fastest rate
# times the length from LEAST_RATE_ENERGY.
ENVELOPE_TERMS, SLOWEST_RATE, FASTEST_RATE = 16, 0.3, 12.0
# Length for the fastest rate: this share of the lowest energy, at least this number of eV.
LEAST_RATE_ENERGY = (0.2, 5.0)
# Relative error of the envelope.
ENVELOPE_TOLERANCE = 0.02
# Power with which the weight of a bin falls as it rises above the envelope.
ASYMMETRY = 1.5
# Least height of the envelope at the start of the window, as a share of the median spectrum.
LEAST_BACKGROUND = 0.03
# Degree of the polynomial in ln E that multiplies the envelope.
TREND_DEGREE = 3
# Exponents r of the free power laws E^-r.
POWERS = (0, 2, 4)
# Smooth deviations of the background: spacing in ln E, and size relative to the background.
DEVIATIONS = ((0.35, 0.05), (0.12, 0.01))
# Least height that scales these deviations, as a share of the curve through the spectrum.
LEAST_DEVIATION_HEIGHT = 0.3
# Prior standard deviation of a free coefficient. It is so large that the prior has no effect.
FREE = 1e3

# --- Elements and fine structure ------------------------------------------------------------------------

# The signal of an edge is taken from below the onset to above it, in eV.
SIGNAL_BELOW, SIGNAL_ABOVE = 5.0, 60.0
# The rise of an edge is taken from below the onset to above it, and above a delayed edge, in eV.
RISE_BELOW, RISE_ABOVE, DELAYED_RISE_ABOVE = 6.0, 20.0, 45.0
# Prior standard deviation of plural scattering, as a share of an edge.
REPLICA_SIZE = 0.5
# The priors follow the amplitude of an element, which falls by at most this factor in one step.
LEAST_RESIZE = 0.2
# Fine structure: energy above the onset of the middle of each hat function in eV, and the prior standard
# deviation of its height relative to the edge.
HATS = np.array(
    [-18.0, -9.0, -4.0, 0.0, 3.0, 6.0, 9.0, 13.0, 18.0, 24.0, 32.0, 43.0, 58.0, 80.0, 110.0, 150.0, 210.0]
)
HAT_SIZES = np.array(
    [0.1, 0.2, 0.4, 1.0, 1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1]
)
# White lines enlarge the hats up to this distance from the onset, in eV.
LINES_UP_TO = 13.0
# White lines of height h enlarge a hat by the factor 1 + LINE_SHARE h.
LINE_SHARE = 0.5
# Hats within this distance are repeated at the second white line, in eV.
SECOND_LINE_RANGE = 7.0
# Up to this energy above the onset in eV, hats are scaled by the height of the edge there; above it, by the
# local height of the edge.
HAT_LEVEL_AT = 10.0
# Hats that stay below this share of the edge everywhere are left out.
LEAST_HAT = 1e-3

# --- Shifts of onsets -----------------------------------------------------------------------------------

# Standard deviation of shifts in eV: with a zero-loss peak in the window, without one, and of one element
# beside another.
SHIFT_WITH_ZERO_LOSS, SHIFT_BEFORE, SHIFT_AFTER = 1.5, 4.0, 3.0
# Distance of two onsets over which their shifts become independent, in eV.
SHIFT_RANGE = 300.0
# Largest distance of an onset from its expected place, in standard deviations.
FARTHEST = 2.5
# Least significance of a family that measures the shift of its onset.
STRONG = 5.0
# Gain of the best pose above which it replaces the expected shift, in χ².
LEAST_POSE_GAIN = 9.0
# Cost of a template of white lines alone, in χ².
LINES_ONLY_COST = 2.0

# --- Search for elements --------------------------------------------------------------------------------

# Largest number of rounds of adding and removing elements, and of elements.
ROUNDS, MOST_ELEMENTS = 3, 15
# Least gain of an element as a share of n_sigma². Below 1, because unexplained signal lowers the gain.
TEMPERED = 0.6
# Least gain in χ² of a second family that counts as evidence.
LEAST_SUPPORT = 4.0
# Share of the expected amplitude that the other edges of an element must reach.
AGREEING = 0.3
# Least height of an edge relative to the spectrum: a lower one may be a bend of the background.
LEAST_JUMP = 0.01
# Least share of the expected rise near the onset.
LEAST_RISE = 0.4
# An element whose edge did not rise when it was added needs this many times n_sigma.
LATE = 3.0
# Least amplitude over its error with all systematic terms.
LEAST_CERTAINTY = 1.5
# Least atomic fraction.
LEAST_FRACTION = 0.005
# Edges within this distance can hide each other, in eV. A weaker edge counts as part of the stronger one
# below this share of its signal.
SHADOW_RANGE, SHADOW_SHARE = 10.0, 0.5
# Cost in χ² of a leading edge that names no element, and of an M45 edge.
UNNAMED_COST, M45_COST = 14.0, 4.0
# Edges below this energy in eV cost this much in χ², because edges of many elements lie there.
LOW_EDGE, LOW_EDGE_COST = 80.0, 20.0
# Share of the gain of doubtful edges, such as delayed M45 edges: K edges of thick specimens look the same.
DOUBTFUL_SHARE = 0.5
# Delayed M45 edges end below this atomic number.
FIRST_SHARP_M45 = 55
# Atomic numbers whose N45 edge (giant resonance) is sharp enough.
GIANT_N45 = (55, 71)
# Least amplitude of an element relative to that of its leading edge.
LEAST_COMBINED = 0.1

# --- Quantification -------------------------------------------------------------------------------------

# An element is not measurable if it could have more than this atomic fraction without being significant.
WORST_LIMIT = 0.5
# Largest presence score of an element that was not found, and smallest one of an element that was found.
MOST_ABSENT, LEAST_PRESENT = 0.49, 0.51
