"""Maps: the structure at each position of a scan, from its patterns and from spectra beside them."""

from xtalsk.mapping._map import map_structures
from xtalsk.mapping._structure_map import StructureMap

__all__ = ["StructureMap", "map_structures"]
