"""Tuned constants of search-match: what each does and what it was tuned on.

The defaults of `LibraryMatch` and `LibraryBlend` are parameters; their docstrings say on what they were
chosen. "Not recorded" means that neither a command nor the data of the choice are on record.
`OMP_NUM_THREADS=1 python benchmarks/bench_library.py minerals.npz` measures all of them together; the option
`--simulated` adds compositions.
"""

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
MASK_BINS = 4  # such bins for which one share of measured bins is kept

# Speed and memory; all: set by eye.
MAX_DOUBLE_SIZE = 2**20  # libraries of fewer bins in total are compared in double precision
ROWS_PER_CHUNK = 128  # rows that are compared with the library at once
ENTRIES_PER_BLOCK = 1024  # entries that a matrix product takes at once
SMALLEST_SHARE = 1e-6  # an entry with a smaller share of its squares in the measured bins has nothing there
FEW_CANDIDATES = (
    0.2  # a row that chemistry leaves a smaller share of the entries is compared with these alone
)

# Probabilities (`_probability`): the logistic of intercept + slopes · (similarity, gap to the best entry of
# another label, penalty of the chemistry / sharpness), without and with chemistry. "scaled_rings" are rings
# that are compared at several line widths and scales.
# `OMP_NUM_THREADS=1 python benchmarks/bench_library.py probability` (3 minutes) fits them on simulations of
# 1,200 AMCSD crystals of different compounds (1,500 in the first two rows of `MATCH_LOGITS`), against AMCSD
# with and without their compound: harsh powders, and rings as laboratories record them, with compositions as
# in a microscope. "rings" were harsh images, with the profiles of that time.
MATCH_LOGITS = {  # that an entry is the measured phase
    "powder": {False: (-10.22, 10.08, 12.22, 0.0), True: (-5.09, 7.64, 11.09, -68.7)},
    "rings": {False: (-14.71, 13.74, 27.65, 0.0), True: (0.2, 0.86, 12.81, -70.85)},
    "scaled_rings": {False: (-5.24, 3.48, 15.43, 0.0), True: (-1.26, 2.04, 12.81, -7.73)},
}
LABEL_LOGITS = {  # that the label of the best entry is right, also if the compound is another one
    "powder": {False: (-9.16, 11.18, 21.75, 0.0), True: (-4.95, 7.49, 13.45, -13.14)},
    "scaled_rings": {False: (-7.2, 8.26, 27.32, 0.0), True: (-2.29, 3.5, 15.72, -4.57)},
}
MAX_GAP = 0.2  # larger gaps, in units of similarity, count as this one; set by eye before the fit
