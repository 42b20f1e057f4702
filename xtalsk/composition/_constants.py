"""Constants of this room that limit rounding, memory and time. None of them was tuned on data.

The default threshold of `ElementPresence` (0.01) is set by eye, too; it is a parameter of the class.
"""

EQUAL_DECIMALS = 9  # fractions that agree to this many decimals are equally abundant
MAX_ATOMS = 100  # largest number of atoms of the rarest element in a formula of whole numbers
WHOLE_TOLERANCE = 1e-6  # largest difference of an amount from a whole number in such a formula
ROWS_AT_ONCE = 256  # compositions whose statistics are computed in one step; not recorded
MAX_CACHED_COMPOSITIONS = 65_536  # results of matminer featurizers that are kept in memory
