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

# Speed and memory; all: set by eye.
MAX_DOUBLE_SIZE = 2**20  # libraries of fewer bins in total are compared in double precision
ROWS_PER_CHUNK = 128  # rows that are compared with the library at once
ENTRIES_PER_BLOCK = 1024  # entries that a matrix product takes at once
SMALLEST_SHARE = 1e-6  # an entry with a smaller share of its squares in the measured bins has nothing there
FEW_CANDIDATES = (
    0.2  # a row that chemistry leaves a smaller share of the entries is compared with these alone
)

# Probability that an entry is the measured phase (`_probability`): the logistic of intercept + slopes
# · (similarity, gap to the best entry of another label, penalty of the chemistry / sharpness), without and
# with chemistry. Fitted by `OMP_NUM_THREADS=1 python benchmarks/bench_library.py probability` (3 minutes) on
# harsh simulations of 1,500 AMCSD crystals of each modality, against AMCSD with and without their compound.
MATCH_LOGITS = {
    "powder": {False: (-10.22, 10.08, 12.22, 0.0), True: (-5.09, 7.64, 11.09, -68.7)},
    "rings": {False: (-14.71, 13.74, 27.65, 0.0), True: (0.2, 0.86, 12.81, -70.85)},
}
MAX_GAP = 0.2  # larger gaps, in units of similarity, count as this one; set by eye before the fit
