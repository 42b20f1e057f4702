"""Tuned constants of the analysis of X-ray spectra.

The errors of the model (`LINE_RATIO_ERRORS`, and `LINE_ERROR` to `BACKGROUND_ERRORS`) were set while looking
at the spectra of ``python benchmarks/bench_spectra.py measured FOLDER...`` and at some forty others that
packages contain; see benchmarks/README.md. None of them was held out. How the other constants were tuned is
not recorded, unless their comment says more. Those of the search for the shift, of sum peaks, of hidden
elements and of unexplained spectra were set by eye on spectra like those of ``python
benchmarks/bench_spectra.py scan`` with 1e4 to 1e6 counts; none of these was held out. Energies are in eV.
"""

import numpy as np

from xtalsk.physics._xray_detector import POLYMER_OPEN_AREA

# --- Microscope and detector, where the spectrum and the parameters do not give them

THIN_BEAM_ENERGY = 60.0
"""Beam energy in keV from which ``"auto"`` takes a film and no window. Set by eye: between SEM and TEM."""

FILM_THICKNESS, DENSITY = 100.0, 5.0
"""Thickness in nm of a film, and density in g/cm³ of any specimen. Typical values, set by eye."""

TYPICAL_RESOLUTION = 130.0
"""Full width at half maximum of Mn Kα. Typical value of drift detectors."""

WINDOWS = {
    "polymer": {"film": 1.0, "open_area": POLYMER_OPEN_AREA, "beryllium": 0.0},
    "beryllium": {"film": 0.0, "open_area": 1.0, "beryllium": 8.0},
    "none": {"film": 0.0, "open_area": 1.0, "beryllium": 0.0},
}
"""Entrance windows of detectors; see `xtalsk.physics._xray_detector.efficiency`. Typical values."""

CRYSTAL = {"dead_layer": 30.0, "silicon": 0.45}
"""Dead layer in nm and thickness in mm of the detector crystal. Typical values."""

TYPICAL_SOLID = {8: 0.6, 14: 0.2, 20: 0.1, 26: 0.1}
"""Atomic fractions by atomic number of the solid that absorbs X-rays before the composition is known. Set by
eye: a silicate."""

# --- Channels and bins

FEWEST_CHANNELS, LEAST_UPPER_END = 100, 1500.0
"""Channels that a spectrum must have, and energy that it must reach. Set by eye."""

BIN_WIDTH = 0.5887
"""Width of a bin in standard deviations of a line: a quarter of the full width at half maximum. Five digits,
because the last decides which channels fall into a bin."""

UPPER_LIMIT, UPPER_STEP, LOWER_STEP = 40_000.0, 5_000.0, 20.0
"""Highest energy of the bins; multiples to which their upper and lower ends are rounded (few grids, so that
libraries are reused)."""

LEAST_MEASURED_BIN = 0.5
"""Share of a bin's channels that must be measured."""

SMOOTHING_BINS = 5
"""Bins in the moving average of the counts."""

SNIP_BINS = 14
"""Half width in bins of the largest window of the SNIP background: 3.5 widths of a line."""

DEAD_CHANNEL, DEAD_COUNTS = 0.1, 100
"""A channel is dead below this share of its lower neighbour, if that has more than these counts."""

OVERFLOW_FACTOR, OVERFLOW_SIGMAS, OVERFLOW_COUNTS = 3, 10, 10
"""A channel has overflowed above this multiple of its highest neighbour, plus these standard deviations, plus
these counts."""

CUTOFF_SHARE, CUTOFF_REACH, CUTOFF_COUNTS = 0.002, 400.0, 100
"""Counts below an electronic cut-off, as a share of the highest counts above it; how far above the lowest
energy the cut-off can lie; and counts needed to see it."""

CUTOFF_CHANNELS, CUTOFF_MARGIN = 20, 20.0
"""Channels above a cut-off without counts below it that must hold `CUTOFF_COUNTS`; distance of the first bin
from the cut-off."""

PILE_UP_COUNTS, PILE_UP_LOWEST = 3e3, 150.0
"""Counts of a spectrum above which sum peaks are fitted, and lowest energy of X-rays that can be summed."""

UNIT_ERROR, FEWEST_SCALED_COUNTS, FEWEST_VALUES, ROUNDING = 0.1, 1000, 20, 1e-6
"""Error of counts as multiples of one number; sum below which other counts are refused; different values that
show that whole numbers are multiples; and error of numbers of single precision, relative to the maximum."""

LEAST_SUMS, LEAST_TRIPLES = 0.002, 0.02
"""Share of the counts in sum peaks above which they are separated from the spectrum, and above which sums of
three X-rays are fitted."""

# --- Lines

LINE_REACH, LEAST_TAIL_REACH = 4.5, 1.5
"""Standard deviations to which a line is computed, and smallest factor of that on the side of its tail."""

LINE_MARGIN = 40.0
"""Smallest distance between a line and the ends of the bins."""

CUT_LINE, FIRST_WHOLE = 60.0, 10
"""Largest distance of a K line, of elements below this atomic number, from the lowest energy if the line is
cut off."""

LARGEST_EDGE = 0.98
"""Highest binding energy of a usable line, as a share of the beam energy."""

SOFT_ENERGY = 1000.0
"""Energy below which yields and absorption are poorly known."""

LEAST_EFFICIENCY, LEAST_SOFT_EFFICIENCY = 1e-3, 0.06
"""Detection efficiency of a usable line, above and below `SOFT_ENERGY`."""

LEAST_MEASURED_LINE = 0.2
"""Share of a line's profile that must lie in measured channels for the element to be measurable."""

GROUPS = ("K", "L3", "L2", "L1", "Ll", "M5", "M3", "M1", "Mz", "N")
"""Groups of lines whose intensities can deviate from the model independently."""

LINE_RATIO_ERRORS = np.array([0.05, 0.10, 0.15, 0.30, 1.00, 0.20, 0.40, 0.60, 0.60, 1.0])
"""Relative standard deviation of the intensity of each group."""

SOFT_RATIO_FACTOR = 3.0
"""Factor of `LINE_RATIO_ERRORS` for groups below `SOFT_ENERGY`."""

LEAST_GROUP_INFORMATION = 0.1
"""Squared significance that a deviation of one standard deviation must have for a group to be fitted."""

# --- Background

N_SOFT_KNOTS, N_KNOTS = 5, 9
"""Knots of the smooth factor below 1 keV, and knots from there to the upper end."""

N_SOFT_PIECES = 4
"""Pieces of the background, from the lowest energy, that also occur without absorption."""

LEAST_BACKGROUND = 1e-6
"""Smallest value of a background column, relative to its maximum."""

BLUR_CUT, LARGEST_BLUR = 1e-4, 8.5
"""Values of the detector's kernel below this share of its maximum are 0; standard deviations over which it is
normalised."""

BACKGROUND_BEND = 0.3
"""Standard deviation of the second differences of neighbouring pieces, relative to their level."""

# --- Instrument: standard deviations of the normal priors

OFFSET_ERROR, GAIN_ERROR, BEND_ERROR = 15.0, 0.004, 1.0
"""Of the energy axis: offset in eV, relative gain, and bends (in eV) at `BEND_ENERGIES`."""

BEND_ENERGIES = np.array([280.0, 520.0, 1000.0, 2000.0, 4000.0, 8000.0])
"""Knots of the bends of the energy axis."""

NOISE_VARIANCE, NOISE_ERROR = 3047.745161, 0.15
"""Variance in eV² of a line at `TYPICAL_RESOLUTION`, the unit of changes of the noise; error in this unit."""

TAIL_LENGTHS, TAIL_REACH = (70.0, 350.0), 6
"""Decay lengths of the tails that incomplete charge collection causes; multiple of them where tails end."""

TAIL_SHARES = (0.03, 0.015, 0.01)
"""Shares of a line in these two tails and in the shelf."""

LARGEST_NOISE_STEP, RESOLUTION_RANGE = 0.3, (100, 250)
"""Limits of one correction of the noise variance, and of the resolution in eV."""

# --- Search for the shift of the energy axis

LARGEST_SHIFT, SHIFT_STEP, TYPICAL_SHIFT = 80.0, 8.0, 25.0
"""Largest shift in eV that is tried, distance of two trials, and standard deviation of shifts."""

SOUND_SHIFT = 12.0
"""Shifts that the calibration alone corrects."""

N_MATCHED, SEARCH_ERROR, SOFT_FACTOR = 10, 0.07, 4.0
"""Steps of matching pursuit, relative error of the counts there, and largest factor between the amounts that
the hard and the soft lines of an element give."""

ELEMENT_COST, RARE_COST, RARE_SHARE = 15.0, 30.0, 0.1
"""Decrease of chi² that an element needs; what an element that is not looked for needs in addition, and as a
share of chi² without lines."""

N_HYPOTHESES, RIVAL_SHARE, RIVAL_SCORE = 3, 0.10, 20.0
"""Shifts that are fitted at most; share of the highest score, and score, by which they may be worse."""

RIVAL_ERROR = 0.03
"""Relative error of the counts while fits at different shifts are compared."""

# --- Errors of the model that remain after the fit

LINE_ERROR = 0.02
"""Relative error of a line."""

POSITION_ERROR = 1.5
"""Error of the position of a line."""

WIDTH_ERROR = 0.04
"""Relative error of the noise variance of a line."""

NEAR_ERROR, NEAR_WIDTHS, NEAR_CUT = 0.01, 3.0, 0.01
"""Error around a line, relative to its height; standard deviation of that region in those of the line; values
below the last share are 0."""

BACKGROUND_ERRORS = (450.0, 1500.0), (0.12, 0.02)
"""Energies, and relative errors of the background there."""

SUM_ERROR, SUM_POSITION_ERROR = 0.05, 10.0
"""Relative error of sum peaks, and error of their positions."""

LEAST_VARIANCE = 0.7
"""Smallest variance of the counts in a bin, so that the normal distribution replaces Poisson's."""

# --- Search for elements; significances are in standard deviations

STRONG, MAIN = 25.0, 3.0
"""Largest possible significance of elements that calibrate the spectrum, and significance that they must
reach in a first fit."""

N_CALIBRATIONS, N_ROUNDS = 3, 3
"""Fits that calibrate, and rounds of the fit of all candidates."""

SPARE_SIGMAS = 2.0
"""Largest possible significance of candidates, above ``n_sigma``."""

DOUBTFUL = 1.0
"""Significance below which all rounds but the last leave an element out."""

FIRST_ELEMENT = 1.5
"""Significance that the strongest element must reach above ``n_sigma``: any of 80 elements can be it."""

CLEARLY_WEAK = 0.5, 2.0
"""The last round leaves elements out at once below this share of the threshold and this significance."""

BOUND_SIGMAS = 2.5
"""Standard deviations that are added to an amount to get its upper bound."""

K_SLACK, SLACK, SOFT_SLACK = 1.5, 3.0, 10.0
"""Factors of an amount in its upper bound: K lines, other lines, and other lines at low energy."""

SOFT_FAMILY = 1200.0
"""Mean energy below which a family of lines is soft."""

CANDIDATE_LINE_ERROR, CANDIDATE_BACKGROUND_ERROR = 0.04, 0.05
"""Relative errors of lines and background while candidates are chosen."""

MAIN_ERROR = 0.1
"""Relative error of the counts in the first fit of strong elements."""

UNEXPLAINED_CHI2, UNEXPLAINED_SHARE = 5.0, 0.2
"""Reduced chi², and unexplained share of the net counts, above which a fit does not explain a spectrum."""

# --- Amounts

SENSITIVITY_ERROR, SOFT_SENSITIVITY_ERROR, LAST_SOFT_K = 0.06, 0.12, 10
"""Relative errors of sensitivities from first principles, above and below 1 keV; last element whose K line is
below 1 keV."""

LARGEST_HIDDEN, LIMIT_SIGMAS = 0.25, 2.0
"""Atomic fraction of an element, LIMIT_SIGMAS standard deviations above its amplitude, from which it is not
measurable under the lines of others."""

HIDING_OVERLAP, HIDING_SIGMAS = 2.5, 2.0
"""An element could hide if overlaps multiply its standard deviation by the first number, or if it reaches the
second significance."""

LEAST_PEAK = 0.02
"""Least share of a family in the counts of an element for it to be named."""

LARGEST_NOT_REPORTED = 0.49
"""Highest presence score of an element below ``min_fraction``: less than one half."""

# --- Linear algebra

RIDGE = 1e-6
"""Added to the diagonal of the scaled normal equations, so that near-parallel columns can be solved."""

GRADIENT_TOLERANCE = 1e-13
"""Smallest gradient of the sum of squares, relative to the largest target, at which an amplitude of 0 is the
best. It is a few times the rounding error."""
