"""Tuned constants of spot patterns: what each does and what it was tuned on.

Where no command stands, values were set by eye on simulated spot patterns of typical, harsh and measured
conditions (low-index and random orientations).
"""

# Search for spots (`_search`, `_search_kernels`)
LARGEST_SIDE = 512  # larger images are binned to at most this many pixels
FIRST_WIDTH = 1.2  # standard deviation of the first filter in pixels
WIDTH_RANGE = (0.7, 4.0)  # standard deviations of the second filter, which has the width of the spots
SAME_WIDTH = 0.25  # the first filter is kept if the spots are as wide within this share
WIDTH_SPOTS = 24  # most significant spots that give the width
N_CIRCLE = 16  # samples of the background around a spot
CIRCLE_RADIUS = 3.5  # distance of these samples from the spot in standard deviations of the filter ...
CIRCLE_MARGIN = 1.0  # ... and pixels more
CIRCLE_RANK = 11  # the background is this sample in ascending order: at the edge of a shadow, a bright one
MIN_SIGNIFICANCE = 5.0  # least significance of a spot in standard deviations
MIN_CONTRAST = 0.15  # least height of a spot above the background, as a share of the background
HOT_SHARE = 0.8  # a spot with a larger share of its 3 x 3 pixels' signal in one pixel is a hot pixel ...
HOT_MAJORITY = 0.5  # ... unless more spots than this share are so sharp
NOISE_BLOCK = 8  # side in pixels of the blocks that give noise against intensity
NOISE_GROUPS = 8  # groups of these blocks by their mean
LEVEL_BLOCK = 16  # side in pixels of the blocks that give the mean of images of few electrons
SPARSE_LEVEL = 0.15  # electrons per pixel up to which it counts as background
GAIN_FLOOR = 1e-6  # least signal of one electron, as a share of the range of the image
MAX_CANDIDATES = 1024
MAX_SPOTS = 256  # the most significant ones are kept

# Centre (`_center`)
FLOOR_BLOCKS = 16  # blocks along the longest side that give the diffuse intensity
CENTER_STEPS = 21  # grid of trial centres along each side
CENTER_SPOTS = 48  # strongest spots whose Friedel pairs are looked for
TRIAL_CENTERS = 64  # midpoints of pairs that are tried
BEAM_REACH = 0.08  # distance of the beam from the centre of the diffuse intensity, as a share of the side
DIFFUSE_BLOCKS = 20  # independent blocks of diffuse intensity
DIFFUSE_FLOOR = 1e-5  # diffuse intensity that counts as none, as a share of the highest intensity
OFFSET_SPREAD = 0.1  # standard deviation of the centre from the middle, as a share of the side
PAIR_GAIN = 6.0  # score of Friedel pairs
BEAM_GAIN = 5.0  # score of the strongest spot as the direct beam
BEAM_MARGIN = (2.0, 2.0)  # spots nearer to the centre than this many pixels + widths belong to the beam

# Lattice and symmetry (`_figures`, `_lattice_kernels`, `_symmetry_kernels`)
LATTICE_SPOTS = 64  # strongest spots that give the lattice
SYMMETRY_SPOTS = 48  # strongest spots that give the symmetry
PATTERSON_STEPS = 100  # steps from the origin to the largest vector of the real space
PATTERSON_STEP = 0.24  # step in units of the inverse of the largest q of the spots
PATTERSON_SHORTEST = 0.7  # shortest vector, in the same unit
PATTERSON_LEVEL = 0.55  # least height of a vector, as a share of the highest one
PATTERSON_VECTORS = 16  # vectors of which pairs are tried as a lattice
POSITION_ERROR = (0.35, 0.004)  # standard deviation of a position along one axis: pixels, share of q
INDEXED_WIDTHS = 3.0  # an indexed spot is nearer to its node than this many standard deviations
STRAY_SHARE = 0.1  # share of the spots that belong to no node
SAME_LATTICE = 0.08  # relative difference of areas of two lattices that are the same
MATCH_ERROR = (1.0, 0.015)  # standard deviation of matching positions: pixels, share of q
SHELL_WIDTH = 0.02  # spots of one shell differ in q by less than this share, or one pixel
N_SHELLS = 8  # shells with the smallest q
N_STRONG = 6  # strongest shells

# Profile and polar image
PROFILE_WIDTH = 0.006  # standard deviation of a spot in 1/Å
