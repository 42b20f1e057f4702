"""Tuned constants of search-match: what each does and what it was tuned on.

The defaults of `LibraryMatch` and `LibraryBlend` are parameters; their docstrings say on what they were
chosen. "Not recorded" means that neither a command nor the data of the choice are on record.
`OMP_NUM_THREADS=1 python benchmarks/bench_library.py minerals.npz` measures all of them together; the option
`--simulated` adds compositions.
"""

import numpy as np

FWHM = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian of standard deviation 1."""

# Comparison of compositions (`_chemistry`); all: not recorded.
RELATIVE_ERROR = 0.1  # standard deviation of an atomic fraction, relative to the fraction
ABSOLUTE_ERROR = 0.01  # standard deviation of an atomic fraction in addition to the relative error
PRESENCE_ERROR = 1 / 3  # standard deviation of a presence value of 0 or 1
CHEMISTRY_WEIGHT = 1.5  # weight of chemistry in the score
TOLERATED_CHI2 = 4.0  # χ² that two compositions of one mineral may have: the misfit is log(1 + χ² / this)

# Stray elements (`_strays`). Tuned by hand on the rank of the compound by chemistry alone, for simulated
# compositions of 800 AMCSD entries: exact, typical, on film and grid, and in a microscope. Half or twice of
# these costs changes it by less than a point. Silicon is no stray element, because that changed nothing.
# `OMP_NUM_THREADS=1 python benchmarks/bench_chemistry.py` measures it.
NO_SUPPORT = ("O", "Al")  # stray elements that do not show that a specimen lies on a film or grid
FITTING_CHI2 = 4.0  # up to this χ² an entry fits a composition as it is
FREQUENT = ("C", "Cu")  # the usual film and grid, which cost less than other strays
FREQUENT_COST = 4.0  # χ² of an excess of these
STRAY_COST = 8.0  # χ² of an excess of another stray element
STRAY_LIMIT = 0.8  # atomic fraction up to which an excess has this cost; what is beyond adds its own χ²
OXYGEN_LIMIT = 0.3  # the same for oxygen
UNSEEN_COST = 8.0  # largest χ² of a light element that an entry has and the measurement lacks
PRESENCE_SHARE = 0.5  # these costs in the comparison of presence, where a foreign element costs 9

# Elements that exclude an entry (`_chemistry.excluded_entries`)
HEAVIEST_LIGHT = 9  # fluorine: spectrometers miss or mistake the lines of these elements; set by eye
TRACE_FRACTION = 0.05  # an entry does not need elements below this atomic fraction; set by eye
ABSENT_FRACTION = 0.005  # an element up to this measured fraction is absent; set by eye

# Local mean (`_profiles.subtract_local_mean`). Tuned with ``local_mean`` on 500 simulated powders of AMCSD
# crystals and on the 301 measured minerals; half and twice as many bins do as well.
LOCAL_BINS = 173  # bins of the local mean

# Second stage, with shifted segments (`_profiles.ProfileLibrary.elastic`). Shifts are worth 1 to 3 points of
# space group on 301 measured minerals (benchmarks/README.md); how these values were chosen: not recorded.
SEGMENT_BINS = 64  # length, in bins, of the segments; all bins of a segment shift together
MAX_BEND = 2  # largest difference, in bins, between the shifts of neighbouring segments
SHIFT_COST = 0.005  # similarity that a shift of all segments by one bin costs; grows with its square
BEND_COST = 0.01  # similarity that a difference of one bin between neighbours costs; grows with its square

# Comparison at several line widths and scales (`_scaled`). Tuned on 600 simulated images of AMCSD crystals
# with `RingConditions.measured()`: space group and compound of the first entry.
# `OMP_NUM_THREADS=1 python benchmarks/bench_library.py rings` measures it.
RING_WIDTHS = (0.015, 0.025, 0.035, 0.05)  # line widths of the library, full at half maximum, in 1/Å
LIBRARY_WIDTH = 0.008  # line width of ideal ring patterns in 1/Å, see `RingConditions.ideal`
LOCAL_MEAN = 0.0375  # standard deviation of the Gaussian of the local mean in 1/Å
SCALE_COST = 0.006  # similarity that an error of the scale by its standard deviation costs
SCALE_STEP = 0.01  # step of the scales in the first stage; the second has half of it
SCALED_CHEMISTRY_WEIGHT = 5.0  # weight of chemistry in the score, with compositions as in a microscope
COARSE_WIDTH = 0.035  # line width of the library in the first stage in 1/Å
COARSE_BINS = 4  # bins that the first stage takes together
SHORTLIST_SHARE = 0.01  # share of a large library that the second stage has, because the first is coarse
# The best of a second stage of 10% of 100,000 entries was among the first 350 for 120 of 120 images:
# `OMP_NUM_THREADS=1 python benchmarks/bench_library.py size --modality rings`
TIED = 0.006  # difference of similarity that rounding to one byte a bin can make, see `pack`
MAX_TIES = 32  # entries of a row at most that are compared without rounding; set by eye
MASK_BINS = 4  # such bins for which one share of measured bins is kept

# Calibration from a known phase (`_known_phase`)
ROUGH_SCALE = 0.05  # largest relative error of a pixel size from the camera length; set by eye

# Speed and memory; all: set by eye.
MAX_DOUBLE_SIZE = 2**20  # libraries of fewer bins in total are compared in double precision
ROWS_PER_CHUNK = 128  # largest number of rows that are compared with the library at once
PAIRS_PER_CHUNK = 3 * 2**20  # rows × entries that a thread compares at once: 13 MB for each of its tables
SCALED_PAIRS_PER_CHUNK = 7 * 2**17  # the same for several line widths: 100,000 entries stay below 0.5 GB
REMEMBERED_ROWS = 1024  # largest number of rows whose comparison is kept for the next call
ENTRIES_PER_BLOCK = 1024  # entries that a matrix product takes at once
SMALLEST_SHARE = 1e-6  # an entry with a smaller share of its squares in the measured bins has nothing there
FEW_CANDIDATES = (
    0.2  # a row that chemistry leaves a smaller share of the entries is compared with these alone
)

DOUBT = 1e-3  # probability that is added to those of the classifier in `_blend`, as none is sure; set by eye

# Probabilities (`_probability`), without and with chemistry; "scaled_rings" are rings that are compared at
# several line widths and scales. `OMP_NUM_THREADS=1 python benchmarks/bench_library.py probability` (4 min)
# fits them on simulations of 1,000 AMCSD crystals of different compounds, against AMCSD with and without
# their compound: harsh powders with typical compositions, and rings as laboratories record them with those
# of a microscope. The logits are intercept + slopes · (similarity of the best entry, gap to the best entry of
# another label, penalty of the best entry / sharpness).
PHASE_LOGITS = {  # that the measured phase is in the library
    "powder": {False: (-8.77, 9.79, 8.74, 0.0), True: (-4.16, 10.13, 0.82, -102.99)},
    "scaled_rings": {False: (-3.26, 3.25, 8.12, 0.0), True: (-0.7, 2.43, 8.46, -6.64)},
    "rings": {False: (-3.4, 2.55, 7.61, 0.0), True: (0.9, 0.54, 4.45, -11.38)},
}
PHASE_SHARPNESS = {  # factor on the scores of phases in the softmax of their shares
    "powder": {False: 3.19, True: 5.26},
    "scaled_rings": {False: 1.74, True: 0.83},
    "rings": {False: 0.87, True: 0.79},
}
STRUCTURE_LOGITS = {  # that the label of the most similar structure is right if the phase is in no library
    "powder": {False: (-6.31, 7.14, 14.51, 0.0), True: (-4.13, 5.05, 16.34, -18.04)},
    "scaled_rings": {False: (-7.84, 8.58, 24.37, 0.0), True: (-6.23, 6.61, 27.78, -5.23)},
    "rings": {False: (-6.98, 6.7, 12.45, 0.0), True: (-4.73, 5.22, 12.01, -18.05)},
}
MAX_GAP = 0.2  # larger gaps, in units of similarity, count as this one; set by eye before the fit

# Similar structures of other elements (`_structures`). Tuned on 491 simulated ring images and 400 powder
# patterns, with exact, typical and microscope compositions: space group of those whose compound is not in the
# library, first and in the first five. `python benchmarks/bench_library.py structures` measures them.
STRUCTURE_SHARPNESS = {  # factor on their scores in the softmax of their weights
    "powder": 1.5,  # even rows of 301 minerals
    "scaled_rings": 2.0,
    "rings": 2.0,
}
STOICHIOMETRY_WEIGHT = 0.75  # weight of log(1 + χ² / 4) of the amounts, whatever the elements, in the score
STOICHIOMETRY_ELEMENTS = 6  # the largest amounts that are compared
WITHOUT_STRAYS_COST = 8.0  # χ² that leaving out carbon and the metals of grids costs
SURE_PHASE = 0.99  # rows whose phase is in the library with this probability need no search for structures

# Known compounds (`_compound_blend`). The logit and the powers were fitted by likelihood on harsh powder
# patterns and typical compositions of 1,000 structures of the Materials Project, none of whose compounds the
# network had seen, against `load_compounds`, and rounded. `python benchmarks/bench_compounds.py FOLDER --fit`
# fits them.
COMPOUND_SHARPNESS = 3.0  # a compound weighs exp(-this) for each unit of misfit; of 1, 2, 3, 4, 6
LISTED_LOGIT = (0.9, 3.9)  # logit of the probability to be in the list: first - second · smallest misfit
POWERS = (
    0.35,
    0.35,
)  # of the probabilities by diffraction, if they are not sure, and of the shares in training
CONFIDENCE_POWER = (
    3  # the former rises to 1 with this power of the confidence; set by eye, of equal likelihood
)
# Composition alone, 257 measured minerals with the formula of their entry in the library, so the power is too
# favourable to frequent ones there: mean log-likelihood -0.902 with 0, -0.861 with 0.5, -0.838 with 1
COMMON_POWER = 0.5  # a compound weighs its number of structures to this power
LEAST_PROBABILITY = 1e-5  # probability that no class falls below; set by eye
COMPOUNDS_AT_ONCE = 64  # rows that are compared with the list at once: 30 MB for 59,000 compounds
