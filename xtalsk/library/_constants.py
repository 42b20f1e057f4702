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

# Speed and memory; both: set by eye.
MAX_DOUBLE_SIZE = 2**20  # libraries of fewer bins in total are compared in double precision
ROWS_PER_CHUNK = 128  # rows that are compared with the whole library at once

# Probability that an entry is the measured phase (`_probability`): the logistic of intercept + slopes
# · (similarity, gap to the best entry of another label, penalty of the chemistry / sharpness), without and
# with chemistry. Fitted by `OMP_NUM_THREADS=1 python benchmarks/bench_library.py probability` (3 minutes) on
# harsh simulations of 1,500 AMCSD crystals of each modality, against AMCSD with and without their compound.
MATCH_LOGITS = {
    "powder": {False: (-10.22, 10.08, 12.22, 0.0), True: (-5.09, 7.64, 11.09, -68.7)},
    "rings": {False: (-14.71, 13.74, 27.65, 0.0), True: (0.2, 0.86, 12.81, -70.85)},
}
MAX_GAP = 0.2  # larger gaps, in units of similarity, count as this one; set by eye before the fit
