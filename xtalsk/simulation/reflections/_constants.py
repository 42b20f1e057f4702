"""Tuned constants of the reflections.

`tests/simulation/test_reflections.py` checks the limits for weak reflections against gemmi and direct sums.
`benchmarks/bench_simulation.py` measures the speed. How the values were chosen is not recorded.
"""

# which reflections are left out as absent
WEAKEST_FAMILY = 1e-8  # |F|² times multiplicity, relative to the strongest family of the crystal
ROUNDING_LIMIT = 1e-11  # |F|² relative to that of all atoms in phase; rounding errors are smaller

# speed and memory
PAIRS_PER_CHUNK = 200_000  # pairs of an atom and a reflection that are computed at once on a GPU
CRYSTALS_PER_CHUNK = 256  # crystals between two steps of the progress bar on a CPU

# preferred orientation
LEGENDRE_ORDERS = (0, 2, 4, 6, 8)  # orders of the expansion of the March function; must be even
N_QUADRATURE_NODES = 96  # of the Gauss-Legendre integrals for its coefficients
WIDEST_SPACING_SHARE = 0.5  # share of the grains in powders that lie on the plane of the widest spacing
