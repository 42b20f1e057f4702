"""Tuned constants of ring and spot images.

`benchmarks/bench_simulation.py` measures the speed. Where a comment does not say how a value was chosen, this
is not recorded.
"""

# carbon film of the support: q and full width of each halo in 1/Å, and its relative height
CARBON_HALOES = ((0.48, 0.16, 1.0), (0.85, 0.18, 0.35))

# beam stop, as shares of the image size unless noted
STOP_RADIUS = (0.04, 0.09)  # range of the radius of the disc
STOP_OFFSET = (-0.01, 0.01)  # range of the distance of the disc from the beam, along rows and columns
ARM_HALF_WIDTH = 0.35  # half the width of the arm, as a share of the radius of the disc

# counts added to a hot pixel; the offset and a random factor of at least 1 come on top
HOT_PIXEL_ELECTRONS = 50  # electrons
HOT_PIXEL_NOISE = 20  # standard deviations of the read noise

# spotty rings
MOST_GRAINS = 300  # a ring of more excited grains than this is smooth
WEAKEST_RING = 2e-4  # rings with a smaller share of the electrons are smooth; single grains are not visible

# spots
N_FRINGES = 3  # spots are included up to this zero of their rocking curve
PRECESSION_STEPS = 16  # azimuths of the mean over the precession circle

# accuracy of pixels
POINTS_PER_PIXEL = 8  # points of a radial profile for each pixel; pixels are interpolated between points
RADIUS_MARGIN = 1.1  # radial profiles reach this many image sizes, which includes all corners
STAMP_WIDTHS = 1.3  # a spot is drawn to this many full widths from its centre

# speed and memory; chunks of 1 to 32 images were compared (benchmarks/README.md, "Speed of the simulation")
PIXELS_PER_CHUNK = 64 * 128 * 128  # pixels of the images that are in memory at once
IMAGES_OF_LINES = 300_000  # symmetry-equivalent reflections of spot patterns that are in memory at once
