"""Tuned constants of indexing: what each does and what it was tuned on.

The settings were chosen for the accuracy of trees that name crystal systems from the figures of merit, on
2,493 harsh patterns in 4 splits of `benchmarks/bench_lattice.py`. The section "Lattices that fit" of
benchmarks/README.md gives the results. The options of the command are not recorded, nor which constants were
varied.
"""

# Lines and figures of merit.
N_LINES = 20  # lowest lines of a profile that are indexed; `_search` splits them into two tens
N_RATIOS = 10  # lines whose position relative to the first one is a feature
LENIENT_SIGMA = 2.5  # least prominence of a line of the lenient set, in noises; LINE_SIGMA is strict ...
LENIENT_MIN_HEIGHT = 0.004  # ... and as a share of the highest value
SHIFT_SPACING = 1.5  # largest distance of trial shifts of the zero, in bins; set by eye

# Coarse search (`_search`).
GRID_SIZE = 8192  # cells of the table over Q in which coarse scores look up calculated lines
N_FIRST_ROWS, N_SECOND_ROWS = 28, 64  # calculated lines in the first and in the second coarse score
N_SECOND = 320  # candidates that get the second score
N_KEPT = 6  # cells of each lattice type that are refined
MIN_CALCULATED, MAX_CALCULATED = 0.5, 10.0  # allowed calculated lines in the range, per observed line
MIN_EXPECTED = 0.3  # least number of lines expected from the volume, per observed line
MAX_EXPECTED = 1.2  # largest such number, in units of MAX_CALCULATED
WEAK_SHARE = 0.15  # lines below this share of the strongest one give way to stronger lines of higher q ...
N_SPARE_LINES = 3  # ... among so many lines beyond those that are assigned
ORDER_PENALTY = 1e-3  # price, per place in the order of q, in that choice; a share of the strongest line

# Trial cells of triclinic lattices (`_zones`), tuned on ideal patterns of AMCSD and of random Niggli cells
# below 800 Å³: `python benchmarks/bench_lattice.py --triclinic`. More zones, corners or cells hardly help.
N_KEPT_TRICLINIC = 12  # triclinic cells that are refined
N_ZONE_LINES = 9  # lowest lines whose pairs span zones
ZONE_POINTS = ((1, 1), (1, -1), (2, 1), (2, -1), (1, 2), (1, -2), (2, 0), (0, 2), (3, 1), (3, -1), (3, 0))
ZONE_TOLERANCE = 0.5  # largest distance of a point of a zone from a line, as a share of the tolerance
ZONE_PENALTY = 0.1  # price of a point that is not observed; observed ones gain up to 1
ZONE_END = 1.01  # points beyond this share of the last Q do not count
MAX_MIXED = 2.0  # largest mixed parameter of a zone, in units of the smaller square; reduced axes have 1
N_ZONES, N_CORNERS = 40, 100  # best zones, and best pairs of zones, that are used
REDUCTION_STEPS = 2  # steps of the reduction of a trial cell

# Refinement (`_refine`).
REFINE_PARTS = (1.0, 0.8)  # tolerance of each least-squares step, as a share of the tolerance of the search
TIGHT_SHARE = 0.6  # the same for a line to count as explained after the refinement
SHIFT_WEIGHT = 0.1  # prior of the shift of the zero: its weight beside that of one line in the least squares
PARAMETER_WEIGHT = 1e-4  # prior of the change of a cell parameter, likewise
MAX_CHANGE = 0.02  # largest change of a parameter in one step, as a share of the mean of the parameters
MIN_DEVIATION = 0.05  # smallest deviation of a line in log_m20, in bins
PARAMETER_PRICE = 1.5  # evidence that each parameter of a cell costs, times log(1 + number of lines)

# Extinction groups (`_extinction_scores`). Chosen of two to five values each on 1,500 to 3,000 harsh powder
# patterns of Materials Project structures (script not kept), by how often the true group is the likeliest of
# its lattice type, and by its mean log-probability there.
ABSENCE_SIGMA = 1.5  # least prominence of the lines with which absences are compared, in noises ...
ABSENCE_MIN_HEIGHT = 0.002  # ... and as a share of the highest value
N_ABSENCE_LINES = 40  # number of these lines, from the lowest
ABSENCE_BLEND = 2.0  # an absent line nearer to a present one, in bins, counts for nothing
STRAY_SHARE = 0.05  # probability that an absent line seems observed, beside that of foreign lines
MIN_LOG_PROBABILITY = -15.0  # less likely groups have this log-probability; set by eye

# Indices reached along each axis in the list of calculated lines (`_tables`).
REACH = {
    "cubic": (10.5, 10.5, 10.5),
    "tetragonal": (7.5, 7.5, 10.5),
    "hexagonal": (7.5, 7.5, 12.5),
    "orthorhombic": (7.5, 5.5, 4.5),
    "monoclinic": (5.5, 4.5, 4.5),
    "triclinic": (6.5, 4.6, 3.8),
}
# The same for the lines that the lowest observed ones may be; the number of these lowest lines; the number of
# assignments that are tried.
LOWEST = {
    "cubic": ((5.1, 5.1, 5.1), 8, 150),
    "tetragonal": ((4.1, 4.1, 5.1), 8, 1500),
    "hexagonal": ((4.1, 4.1, 9.1), 8, 1500),
    "orthorhombic": ((4.1, 4.1, 4.1), 8, 4000),
    "monoclinic": ((3.1, 3.1, 3.1), 7, 8000),
    # Chosen of five on ideal patterns of 500 monoclinic minerals: 2 % more of the volumes are right.
    "monoclinic_deep": ((4.1, 3.1, 4.1), 8, 16000),
}

# Random lattices by which assignments are chosen (`_trial_cells`).
N_RANDOM = 5000  # lattices
N_ROUNDS = 10  # rounds of the choice; after each, lattices that are hit already count less
HIT_WEIGHT = 0.3  # factor on the weight of a lattice for each assignment that hits it
LOG_RATIOS = {"tetragonal": (-1.2, 1.5), "hexagonal": (-1.1, 1.9)}  # range of log(c/a)
LOG_SQUARES = 1.8  # half range of the logarithms of a*², b*², c*² of orthorhombic and monoclinic lattices
VISIBLE_SHARE = (0.45, 1.0)  # range of the share of lines that are strong enough to be seen
SCREW_SHARE = 0.5  # probability of a screw axis along each axis
GLIDE_SHARES = (0.12, 0.12, 0.16, 0.6)  # probabilities of glides along either axis, along both, and of none
LOST_SHARE = 0.4  # probability that one of the lowest lines is lost
FOREIGN_SHARE = 0.2  # probability that one of the lowest lines is foreign

# Plausible ranges of q (`_scores`); set by eye, not with the others.
MAX_Q = 5.0  # ends of ranges beyond this, in 1/Å, are not 1/d
MAX_FIRST_LINE = 0.7  # first lines beyond this, in 1/Å: diamond has 0.485, beryllium 0.505
MAX_ZERO_SHIFT = 0.02  # largest ``zero_shift`` in 1/Å: 1.8° of 2θ for Cu Kα
MIN_LAST_LINE = 0.05  # last of 20 lines below this, in 1/Å
