"""Tuned constants of ring and spot images.

`benchmarks/bench_simulation.py` measures the speed. Where a comment does not say how a value was chosen, this
is not recorded.
"""

# carbon film of the support: q and full width of each halo in 1/Å, and its relative height. Rings at about 2
# and 1.2 Å: Z. Czigány and L. Hultman, Ultramicroscopy 110 (2010) 815
CARBON_HALOES = ((0.48, 0.16, 1.0), (0.85, 0.18, 0.35))

# silica glass: first sharp diffraction peak at Q = 2 pi q = 1.52 1/Å and the next two at 2.9 and 5.2,
# S. Susman et al., Phys. Rev. B 43 (1991) 1194. Relative heights are estimates for electrons
SILICA_HALOES = ((0.24, 0.08, 1.0), (0.46, 0.12, 0.15), (0.83, 0.16, 0.12))

# beam stop, as shares of the image size unless noted
STOP_RADIUS = (0.04, 0.09)  # range of the radius of the disc
STOP_OFFSET = (-0.01, 0.01)  # range of the distance of the disc from the beam, along rows and columns
ARM_HALF_WIDTH = 0.35  # half the width of the arm, as a share of the radius of the disc

# needle-shaped beam stops, as shares of the image size: read off eight measured ring images
NEEDLE = {
    "tip": (0.006, 0.04),  # half width of the tip
    "blade_end": (0.12, 0.4),  # distance of the widest place from the tip
    "blade": (0.03, 0.14),  # half width there
    "gap": (0.02, 0.2),  # distance from there to the arm
    "arm": (0.03, 0.11),  # half width of the arm
}
NEEDLE_REACH = (0.02, 0.13)  # how far the tip is beyond the beam
BAR_SHARE = 0.25  # share of the needles that are bars of one width
BAR_HALF_WIDTH = (0.01, 0.04)

# stripes and scale bars, as shares of the image size unless noted
STRIPE_FACTOR = (0.3, 1.6)  # of the values of a stripe
LABEL_HEIGHT = (0.04, 0.09)
BAR_LENGTH = (0.1, 0.3)
MARK_MARGIN = (0.005, 0.06)  # distance of a scale bar from the edges
LABELS = (
    "5 1/nm",
    "10 1/nm",
    "2 1/nm",
    "5.00 1/nm",
    "10 nm-1",
    "1 1/A",
    "20 1/nm",
    "200 kV",
    "5 nm",
    "SAED 3",
)

# contrast of exports
CONTRAST_STEP = 4  # limits of the contrast come from each fourth pixel of each fourth row

# counts added to a hot pixel; the offset and a random factor of at least 1 come on top
HOT_PIXEL_ELECTRONS = 50  # electrons
HOT_PIXEL_NOISE = 20  # standard deviations of the read noise

# spotty rings
MOST_GRAINS = 300  # a ring of more excited grains than this is smooth
WEAKEST_RING = 2e-4  # rings with a smaller share of the electrons are smooth; single grains are not visible

MOST_SPREAD_GRAINS = 2  # times as many if grains differ in size, because few of them are visible

# strong textures
STRONG_TEXTURE = 0.4  # below this March parameter, Legendre polynomials up to order 8 blur a texture
FIBRE_ANGLES = 91  # angles between plane and texture plane, from 0 to 90 degrees
FIBRE_AZIMUTHS = 64  # azimuths of the mean about a pole, over half a turn

# dynamical scattering
LARGEST_EXTINCTION = 20.0
BLACKMAN_POINTS = 2001

# spots
N_FRINGES = 3  # spots are included up to this zero of their rocking curve
PRECESSION_STEPS = 16  # azimuths of the mean over the precession circle

# double diffraction
WEAKEST_DOUBLE = 1e-6  # weaker reflections are left out, relative to the strongest; set by eye

# accuracy of pixels
POINTS_PER_PIXEL = 8  # points of a radial profile for each pixel; pixels are interpolated between points
RADIUS_MARGIN = 1.1  # radial profiles reach this many image sizes, which includes all corners
STAMP_WIDTHS = 1.3  # a spot is drawn to this many full widths from its centre

# speed and memory; chunks of 1 to 32 images were compared (benchmarks/README.md, "Speed of the simulation")
PIXELS_PER_CHUNK = 64 * 128 * 128  # pixels of the images that are in memory at once
IMAGES_OF_LINES = 300_000  # symmetry-equivalent reflections of spot patterns that are in memory at once
