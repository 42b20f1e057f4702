"""Tuned constants of the crystals: thresholds and tolerances, each with what it was tuned on."""

# Atoms and sites
SAME_ATOM = 0.06
"""Largest distance in Å between images of one atom on a rounded special position.

Tuned on the AMCSD: distances between images of one atom stop at 0.05 Å, distances between split sites begin
at 0.07 Å. The command is not recorded.
"""
N_SITE_SHIFTS = 3
"""Most steps that move a site onto its special position. Set by eye."""
SAME_POSITION_DECIMALS = {"symmetry": 4, "structure": 5}
"""Decimals of fractional coordinates to which atoms on one position agree: in the search for symmetry, and
in a pymatgen structure. Set by eye."""
SAME_OCCUPANCY_DECIMALS = 3
"""Decimals of the occupancies that two sites of one kind share, in the search for symmetry. Set by eye."""
WHOLE_AMOUNT = 0.01
"""Largest deviation of all amounts in a cell from whole numbers that a formula rounds away. Set by eye."""

# Entries that are rejected
MAX_SITE_OCCUPANCY = 1.01
"""Largest occupancy of one CIF site; 1.002 is rounding of a refinement, more is a fault. Set by eye."""
MAX_POSITION_OCCUPANCY = 1.1
"""Largest sum of occupancies on one position that is scaled to 1 for pymatgen; more raises. Set by eye."""
MAX_SUMMED_OCCUPANCY = 1.2
"""Largest sum of occupancies within `SAME_ATOM` of each other; more is a fault of the crystal.

Tuned on published structures, whose sums reach 1.2. The command is not recorded.
"""
MIN_CELL_VOLUME = 0.1
"""Smallest cell volume in Å³ of a CIF. Set by eye."""
MIN_CELL_LENGTH = 0.5
"""Smallest cell length in Å of a CIF. Set by eye."""
MIN_CELL_FULLNESS = 1e-4
"""Smallest ratio of the cell volume to the product of the cell lengths; less is a flat cell. Set by eye."""

# Symmetry that an entry states
MAX_OPERATIONS = 1536
"""Most symmetry operations of one entry: those of a cubic group with 32 lattice points. Set by eye."""
MAX_ATOMS = 1_000_000
"""Most atoms of one entry, times operations, before special positions are merged. Set by eye."""
MAX_MISFIT = 0.02
"""Largest relative change of the cell metric under a rotation of the group; more is another crystal system.
Set by eye: the OpenChemistry files cannot tune it, 523 of 524 change by less than 1e-5 and one by 1."""
DOUBTFUL_MISFIT = 0.003
"""Relative change of the cell metric under a rotation that is reported. Set by eye, as `MAX_MISFIT`."""

# Statements of an entry about itself
FORMULA_TOLERANCE = 0.03
"""Largest difference of atomic fractions between the sites and the formula of an entry, without hydrogen.
Set by eye, as in the test of the AMCSD."""
AMOUNT_RTOL = 0.05
"""Largest relative difference between counted and stated atoms in the cell, without hydrogen. Set by eye."""
DENSITY_RTOL = 0.05
"""Largest relative difference between calculated and stated density, beyond missing hydrogen. Set by eye."""
MEASURED_DENSITY_RTOL = 0.2
"""The same for a measured density, which pores and impurities change. Set by eye."""
VOLUME_RTOL = 0.01
"""Largest relative difference between the cell volume and the stated one. Set by eye."""
MIN_CONTACT = 0.6
"""Smallest distance between two atoms as a fraction of the sum of their covalent radii; less is a fault.

Set by eye, in a gap of 524 OpenChemistry files: 11 have shortest contacts up to 0.575, all others 0.655 or
more. The least of 500 Materials Project structures is 0.73.
"""
SHARED_OCCUPANCY = 1.05
"""Two atoms whose occupancies add up to less may be alternatives on one place. Set by eye."""
CONTACT_STEP = 0.05
"""Difference of the shortest contacts, in the unit of `MIN_CONTACT`, that decides between two origins.
Set by eye."""
MAX_ATOM_VOLUME = 500.0
"""Largest cell volume in Å³ for each atom; more is a wrong unit of the cell. Set by eye: OpenChemistry files
reach 149."""
ISOTOPE_MASS_RATIO = (0.8, 1.3)
"""Mass numbers of isotopes, as a range of ratios to the atomic weight. Set by eye."""

# Files
WRITTEN_SYMPREC = 0.01
"""Tolerance in Å of the symmetry of a written CIF: far below `SAME_ATOM`, so that a reader gets the same
atoms. Set by eye."""
MAX_FILE_SIZE = 256 * 2**20
"""Largest CIF in bytes, after decompression. Set by eye."""

# Choice of Wyckoff positions for random crystals
N_CHOICES = 20
"""Most choices of Wyckoff positions for one crystal, until one does not have more symmetry. Set by eye."""
N_SPARE_DRAWS = 20
"""Draws of positions beyond the number of atoms, as some draws repeat a fixed position. Set by eye."""
SIZE_GROWTH = 4
"""The number of atoms grows by 1 and by a fraction 1 / `SIZE_GROWTH` after each choice. Set by eye."""
N_SUFFICIENT_ORBITS = 4
"""Choices of more orbits than this are taken without a search for more symmetry. Set by eye."""
TRIAL_SYMPREC = 1e-4
"""Tolerance in Å of the search for symmetry on chosen positions, without rounding. Set by eye."""

# Likeness and size of elements in crystals
ELECTRONEGATIVITY_UNIT = 0.4
"""Difference of Pauling electronegativities that counts as a distance of 1 between elements. Set by eye."""
RADIUS_UNIT = 0.15
"""Difference of the logarithms of covalent radii that counts as 1. Set by eye."""
ORDER_UNIT = 15.0
"""Difference of Mendeleev numbers that counts as 1. Set by eye."""
START_WEIGHT = 0.05
"""Number of crystals that the volume of an element from its covalent radius counts as. Set by eye."""
