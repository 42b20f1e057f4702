"""Tuned constants of the data sets, each with what it was tuned on."""

# Random crystals: cells
LENGTH_SPREAD = 0.05
"""Standard deviation of the logarithm of cell lengths around those of a reference crystal. Set by eye."""
ANGLE_SPREAD = 2.0
"""Standard deviation in degrees of cell angles around those of a reference crystal. Set by eye."""
FREE_LENGTH_SPREAD = 0.35
"""Standard deviation of the logarithm of cell lengths where no reference crystal has the Bravais lattice.
Set by eye."""
FREE_ANGLES = (75.0, 105.0)
"""Range in degrees of cell angles where no reference crystal has the Bravais lattice. Set by eye."""
VOLUME_SPREAD = 0.05
"""Standard deviation of the logarithm of the volume per atom, around a reference crystal. Set by eye."""
VOLUME_PERCENTILES = (1, 99)
"""Percentiles of the volume per atom in the reference, to which all volumes are clipped. Set by eye."""
STANDARD_CELL_RTOL = 1e-4
"""Relative tolerance of cell parameters in the standard axes of their Bravais lattice. Set by eye."""

# Random crystals: number of atoms
N_SIZE_STEPS = 6
"""The number of atoms rises over this many attempts, then starts again. Set by eye."""
SIZE_STEP = 0.25
"""Relative growth of the number of atoms with each of these attempts. Set by eye."""

# Random crystals: placement of atoms
N_TRIALS = 16
"""Trial points for each orbit; the one with the largest distances is taken. Set by eye."""
N_FAILURES = 8
"""Orbits of one crystal that find no room before the crystal is drawn again. Set by eye."""
LATTICE_GROWTH = 1.01
"""Factor on the lattice vectors of a crystal after each such orbit. Set by eye."""
N_ATTEMPTS = 200
"""Most attempts at one crystal. Set by eye."""
CHUNK_SIZE = 256
"""Crystals whose atoms are placed together; affects speed and memory only. The tuning is not recorded."""
SYMPREC = 0.02
"""Tolerance in Å of the search for symmetry that confirms each crystal. Set by eye."""

# Random crystals: packing after the reference
CUTOFF = 4.0
"""Distance in Å that stands for all larger ones between two elements of a reference crystal. Set by eye."""
SAME_PLACE = 0.5
"""Distance in Å below which two reference sites count as one that two elements share. Set by eye."""
START_DISTANCE = 0.5
"""Smallest distance of two atoms over the sum of their covalent radii before they move apart. Set by eye."""
RELAXATION = (8, 4, 1.02, 0.5, 0.9)
"""Steps before a lattice grows, times that it grows, the factor of its growth, the share of an overlap that
one step removes, and the distance over that of the reference that is enough. Set by eye, for speed."""
HOPE = 0.9
"""A crystal is given up before a growth if all the growth left would not bring its atoms this close to the
distance that is enough. Set by eye."""
FARTHEST_NEIGHBOUR = 1.3
"""Largest distance of an atom to its nearest neighbour over the sum of their covalent radii. Set by eye:
400 triclinic crystals of the Materials Project have hardly any atom without such a neighbour."""
EASING = 0.97
"""Factor on the distances of the reference with each attempt at a crystal. Set by eye."""

# Crystals with substituted elements
LEAST_ATOMS = 50
"""Atoms of an element in all crystals together from which it may replace others. Set by eye."""
SMALLEST_ATOM = 1.0
"""Smallest volume of an atom in Å³, because a fit to few crystals may give 0. Set by eye."""

# Specimens that are simulated in parallel
SPECIMENS_PER_PART = 128
"""Specimens of one task of a worker: about half a second of images. Set by eye; the specimens depend on
it."""
LEAST_CRYSTALS_PER_PART = 16
"""Crystals of one task, even if they have many replicas, so that impurities differ. Set by eye; the specimens
depend on it."""
