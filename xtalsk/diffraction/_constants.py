"""Tuned constants of this room: what each does and what it was tuned on.

"Not recorded" means that neither data nor a command are on record for the choice. The constants of the
geometry work together; `benchmarks/bench_radial.py` measures the error of the centre against dose, image size
and beam stop.
"""

# Radial mean of an image (`_functional.radial_mean`); all three: not recorded.
RADII_PER_PIXEL = 8  # fine radii per pixel on which intensities are summed
RADIAL_KERNEL = 0.35  # standard deviation, in pixels, of the Gaussian that joins neighbouring radii
MIN_RING_SHARE = 0.05  # a bin is NaN where a smaller share of its ring was recorded

# Mean of a scan over bins (`_functional.bin_mean`); both: not recorded.
MAX_GAP = 10  # a step longer than this many median steps is a gap
MIN_BIN_SHARE = 0.5  # a bin is NaN where a smaller share of it is covered
SCANS_PER_CHUNK = 256  # scans whose profiles are computed together; set by eye

# Background (`_functional.snip`).
SNIP_SMOOTHING = 2.0  # standard deviation, in bins, of the smoothing before the clipping; not recorded
ROUNDING_STEPS = 64  # a profile that nowhere exceeds its background by more rounding steps is flat; by eye

# Central halo of ring profiles (`_halo`). Set by eye on the profiles of 11 measured ring images.
SATURATED_PIXELS = 12  # fewer pixels at the highest value are no saturation
SATURATED_CORE = 0.15  # least share of them whose eight neighbours have that value too
SATURATED_RING = 0.1  # a ring around the beam is hidden if a larger share of its pixels is saturated
BLOOM_WIDTH = 0.03  # saturated pixels so near the row or column of the beam are left out, share of the side
HALO_SMOOTHING = 2.0  # smoothing, in bins, of the profile in which the maximum of the halo is looked for
HALO_START = 0.04  # the lowest value is looked for within this distance from the first bin, in 1/Å ...
HALO_RISE = 0.02  # ... and the intensity rises from the first bin if it lies within this distance
HALO_CONTRAST = 0.1  # ... to a maximum that exceeds it by this share at least
HALO_REACH = (
    0.15  # largest distance of the maximum of the halo from the first bin, and width of its flank, in 1/Å
)
HALO_TOP = 0.95  # the maximum ends where the intensity falls below this share of it
BEAM_CONTRAST = 3  # the direct beam exceeds all lines by this factor after subtraction of the background
HALO_FLANK_LEVEL = 0.005  # level, as a share of the highest value, at which the flank of the halo ends

# Statistics along rings (`_sectors`); both: set by eye on the same images.
N_SECTORS = 24  # sectors of the image of which means are compared
MIN_SECTORS = 3  # a bin has a median if so many sectors recorded it

# Peaks of one profile (`_peak_search.locate_peaks`); all: not recorded.
PEAK_LAG = 3  # distance, in widths of the smoothing, of the neighbours that give the noise
PEAK_WIDTH_SCAN = 0.0015  # smoothing of powder scans by `PeakHistogram`, standard deviation in 1/Å
PEAK_WIDTH_IMAGE = 0.004  # smoothing of radial profiles by `PeakHistogram`, standard deviation in 1/Å
HISTOGRAM_GRID = 2048  # bins of q of the profiles in which `PeakHistogram` looks for peaks

# Lines of many profiles (`_peak_search.find_lines`). They belong to the settings of indexing; the header of
# indexing/_constants.py says what is on record about their choice.
LINE_LAG = 4  # distance, in bins, of the neighbours that give the noise
LINE_REACH = 24  # bins on each side within which the foot of a line is looked for
QUIET_SHARE = 0.3  # quantile of the deviations that gives the noise: crowded lines may fill half of a profile
LINE_SMOOTHING = 0.8  # standard deviation of the smoothing, in bins
LINE_SIGMA = 4.0  # least prominence of a line, in units of the noise
LINE_MIN_HEIGHT = 0.015  # least prominence of a line, as a share of the highest value of the profile

# Defective pixels (`_geometry.reject_defects`); all: not recorded.
DEFECT_SPREADS = 5  # a hot pixel exceeds its brightest neighbour by so many ranges of its neighbours ...
DEFECT_SIGMA = 5  # ... and by so many standard deviations of the counting noise
DEAD_NEIGHBOUR = 25  # a pixel at 0 is dead if its darkest neighbour is brighter than this

# Search for the centre (`_geometry`); all: not recorded.
FINE_SIZE = 128  # longest side, in pixels, of the reduced images on which the geometry is found
BRIGHT_WINDOW = 1 / 4  # standard deviation of the mean-shift window, as a share of the side of the image
BRIGHT_STEPS = 4  # steps of the mean shift
COARSE_SLACKS = (4, 2)  # slack of the shadow in the two rounds of the search by inversion symmetry, pixels
COARSE_SMOOTHING = 0.7  # smoothing of the image before the correlation, pixels
# The centre of rings is taken if it leaves so much less unexplained than that of inversion symmetry. On
# simulated images of 256 x 256 pixels with 10, 30, 100 and 500 grains and of typical conditions, the median
# error changed from 24, 20, 0.21, 0.10 and 0.028 pixels to 4.9, 0.6, 0.16, 0.10 and 0.028.
RING_CENTER_GAIN = 0.03
FLAT_WIDTH = 1 / 16  # smoothing that gives the diffuse background, as a share of the longest side
DARK_BLOCK = 5  # side, in pixels, of the blocks whose lowest mean is the dark level
DARK_BLOCK_SHARE = 0.9  # least share of valid pixels in such a block

# Refinement of centre and ellipticity (`_refinement`, `_geometry.find_geometry`); all: not recorded.
SPREADS = (2.0, 1.0, 1.0, 1.0)  # smoothing of the ring profile in successive steps, in pixels
MAX_SHIFT = 6  # pixels that the refinement may move the centre
REFINE_SMOOTHING = 0.6  # smoothing of the image before the refinement, pixels
N_ANGLES = 192  # samples of each ring
RADIUS_SHARE = 0.75  # largest radius, as a share of the longest side of the image
MIN_ANGLE_SHARE = 0.1  # least share of a ring that must be valid for its slope to count
MAX_ELLIPTICITY = 0.08  # bound of each ellipticity term
ELLIPTICITY_SPREAD = 0.015  # standard deviation of the prior of each ellipticity term: lenses do 0 to 3 %
ELLIPTICITY_STEP = 0.02  # largest change of an ellipticity term in one step
RIM_SMOOTHING = 1.0  # smoothing, in pixels, that grows the shadow for the refinement ...
RIM_LEVEL = 0.05  # ... with this threshold

# Shadow of a beam stop (`_beam_stop.find_shadow`); all: not recorded.
SHADOW_SMOOTHING = 80  # the intensity is smoothed by the longest side divided by this
SHADOW_LEVEL = 0.5  # a pixel in shadow is darker than this share of the darkest of the neighbouring rings ...
SHADOW_SIGMA = 3  # ... by more than so many standard deviations of the counting noise
SHADOW_ROUNDS = 3  # rounds of ring means without the pixels in shadow
STOP_RADIUS = 5  # a stop in the middle is smaller than the largest radius divided by this
STOP_CONTRAST = 3  # rings brighter than this many times the middle are not in shadow
SPOT_LEVEL, SPOT_ROUNDS = 2.0, 2  # pixels above this many ring means are spots; rounds of means without them
BLACK_SHARE = 1e-4  # rings below this share of the brightest one are black; by eye
SOLID_SMOOTHING, SOLID_LEVEL = 0.8, 0.4  # smoothing (pixels) and threshold that drop single dark pixels
GROWN_SMOOTHING, GROWN_LEVEL = 0.7, 0.1  # smoothing (pixels) and threshold that grow the shadow by its rim

# Artefacts of an image (`_artefacts`, `_streaks`). Set by eye on 11 measured ring images, on simulated ones
# and on the artefacts that tests/diffraction/test_artefacts.py draws. In other simulations, clusters were
# found in 0 of 462 of ideal and typical conditions and in 8 of 231 of harsh ones.
CLUSTER_REACH = 7  # pixels to the surroundings with which a cluster of hot pixels is compared
CLUSTER_SPREADS = 2  # a hot pixel exceeds its surroundings by so many ranges of their values
CLUSTER_SIDE = 5  # largest side of such a cluster in pixels
CLUSTER_FLATNESS = 0.3  # a cluster is flat if its weakest pixel has this share of the brightest one
CLUSTER_STEP = 0.1  # the pixels around a cluster are below this share of its brightest pixel
HIT_ELECTRONS = 50  # least signal of the brightest pixel of a cluster, in electrons
HIT_SIGMA = 50  # every pixel of a strong hit exceeds its surroundings by so many standard deviations ...
HIT_STEP = 0.06  # ... and the pixels around it exceed them by less than this share of its weakest pixel
BLANK_LINE_SHARE = 0.98  # least share of the pixels of a blank row or column that hold one value
DEAD_LINE_BLOCKS = 16  # parts of rows and columns whose means are compared
DEAD_LINE_LENGTH = 0.33  # least length of a dead line, as a share of the side: rings are too curved for it
DEAD_LINE_LEVEL = 0.5  # a dead line is darker than this share of both its sides ...
DEAD_LINE_SIGMA = 5  # ... by so many standard deviations of the counting noise
DEAD_LINE_WIDTH = 4  # distance, in pixels, of the farthest sides of a dead line
BAR_LENGTH = 0.08  # least length of a scale bar, as a share of the longest side of the image ...
BAR_ASPECT = 3  # ... and in units of its height
BAR_IMAGE_SIZE = 200  # bars are two pixels high or more in images with a longer side of this many pixels
BAR_FILL = 0.95  # least share of the rectangle that the bar fills
MARK_SHARE = 0.5  # a larger share of the image at one value is no mark
MARK_TOLERANCE = 0.02  # pixels of a mark differ by this share of all values at most: JPEG, scaled pictures
MARK_CONTRAST = 0.2  # most pixels around a bar differ from it by this share of all values ...
MARK_SIGMA = 3  # ... or by so many standard deviations of the pixels around it
MARK_REACH = 0.35  # text is looked for within one length of the bar, and this share of the longest side
LETTER_SIZE = 0.15  # largest side of a letter, as a share of the longest side of the image
BOX_FILL = 0.8  # least share of a row or column of the box around bar and text that holds their values
SEAM_DISTANCE = 2  # distance, in pixels, of the sides of a bar with which its continuation is compared
SEAM_PARTS = 16  # parts of the continuation
SEAM_SHARE = 0.8  # a bar is a seam if a larger share of them differs from both sides as the bar does; by eye
STREAK_SIZE = 160  # longest side, in pixels, of the reduced image in which streaks are looked for
STREAK_SIDES = (4, 9)  # distances, in reduced pixels, of the sides with which a streak is compared
STREAK_EXCESS = 1.3  # a streak is so many times as bright as both its sides ...
STREAK_SIGMA = 4  # ... by so many standard deviations of the counting noise
STREAK_EDGE = 1.1  # the same for its edges
STREAK_LENGTH = 0.3  # least length of a streak, as a share of the shortest side
STREAK_COVERAGE = 0.75  # least share of that length with excess
MAX_STREAKS = 4  # streaks that are looked for, one after another
STREAK_ANGLES = 180  # angles of the lines that are tried

# Plausibility of cells (`_plausibility`). Set by eye on 11 measured ring images, 9 files of measured spots,
# and simulated rings and spots: the share of spots is at most 0.48 in measured rings and 0.84 to 0.9 in
# zone axes and precession patterns of small cells.
SATURATED_SHARE = 0.5  # a cell with a larger share of its values at the highest one is saturated
SMOOTH_WIDTH = 0.06  # window, in 1/Å, of the cubic that a smooth scan follows
SMOOTH_SHARE = 1e-4  # largest deviation of a smooth scan from it, as a share of the range of its values
OFFSET_SHARE = 0.97  # a centre farther out than this share of max_offset is doubtful
SPOT_SIZE = 128  # longest side, in pixels, of the reduced image
SPOT_ANGLES = 48  # parts of each ring
SPOT_SIGMA = 4  # spots rise above the median of their ring by so many standard deviations of the parts
SPOT_BACKGROUND = 12  # half width, in reduced pixels, of the background window below the medians
SPOT_SHARE = (
    0.55  # share of the intensity of spots among that of spots and rings, above which it is spots ...
)
SPOT_EXCESS = 0.02  # ... if it is this share of the whole intensity as well
LINE_SHARE = 0.01  # least share of rings in the whole intensity
ROUND_SHARE = 0.5  # least share of the variance that rings explain
# Images that hold no pattern: their ring means do not decrease. On 298 simulated images each of measured and
# harsh conditions, 54 drawn pictures of specimens and 30 photographs.
PATTERN_RISE = -0.2  # least rank correlation of ring means with the radius of an image that is no pattern ...
PATTERN_ROUND_SHARE = 0.7  # ... if rings explain less than this share of the variance
NEGATIVE_RISE = 0.3  # the same of images that may be round: negatives, holes

# Amorphous haloes (`_amorphous`). Set on 599 simulated images of measured conditions and as many of films
# alone (`RingConditions.measured()` with background=1, support=(0.2, 0.9), glass in half of them). Of 600
# images of each that were not used for it, 3.7% of those with rings and 69% of the films are named (9.2% and
# 75% before).
HALOES_SMOOTHING = 0.008  # standard deviation, in 1/Å, of the smoothing of the profile
HALOES_SIGMA = 5  # least prominence of a maximum in standard deviations of the noise
HALOES_CONTRAST = 15  # the same of the strongest halo
HALOES_WIDTH = 0.08  # least width, in 1/Å, of the strongest halo
HALOES_WIDEST = 0.25  # largest width of the strongest halo
HALOES_MARGINS = (0.08, 0.05)  # sharp maxima so near the start and the end of the profile do not count, 1/Å
RINGS_WIDTH = 0.065  # largest width, in 1/Å, of a ring of crystals

# Calibration from a known phase (`xtalsk.library.calibrate_image`). Set by eye on 11 measured ring images.
CALIBRATION_RADII = (0.06, 0.8)  # places of the first line, as shares of the distance to the farthest edge
CALIBRATION_STEP = 0.003  # relative step of the pixel sizes that are compared
CALIBRATION_WIDTHS = (
    0.008,
    0.016,
    0.032,
)  # widths of the lines as shares of that distance, standard deviation
CALIBRATION_TOLERANCES = (
    0.03,
    0.02,
    0.015,
)  # largest relative distance of ring and line, in successive rounds
CALIBRATION_LINES = 0.02  # weaker lines are left out, share of the strongest one
CALIBRATION_RESIDUAL = 0.01  # largest residual of a sure calibration
CALIBRATION_SHARE = 0.6  # least share of the heights of the rings that a sure calibration explains ...
CALIBRATION_LINE_SHARE = 0.4  # ... and of the amplitudes of the lines of the phase
CALIBRATION_ERROR = 0.001  # relative error of the places of rings that overlap, besides their residuals
CALIBRATION_RIVAL = 0.97  # another pixel size with a correlation above this share of the best is a rival
