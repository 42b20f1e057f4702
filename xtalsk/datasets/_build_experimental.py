"""Build the packaged file of experimental structures from a collection of open sources.

Run ``python -m xtalsk.datasets._build_experimental FILE ...`` with files of `CrystalSet.save` whose ids begin
with the source. Sources without a stated licence, sites with impossible occupancies and atoms that are too
close to each other are left out.
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from xtalsk.crystals import CrystalSet
from xtalsk.crystals._constants import MIN_CONTACT
from xtalsk.crystals._contacts import contact_of
from xtalsk.crystals._faults import find_faults

SOURCES = {
    "cod_benchmark": "cod",
    "httk_cod": "cod",
    "amcsd_old": "amcsd",
    "amcsd_entry": "amcsd",
    "cod_entry": "cod",
    "published": "published",
    "obelix": "obelix",
    "openchemistry": "openchemistry",
    "ncrystal": "ncrystal",
    "crystals": "cod",
    "mtex": "cod",
    "cemd": "cod",
}
"""Sources with an open licence, and the first part of their ids in the package."""


def name(source, entry):
    """Return the mineral name in an id such as ``openchemistry:elements/S8-Sulfur-beta.cif``, or ""."""
    stem = Path(entry).stem
    return stem.partition("-")[2] if source == "openchemistry" else ""


def select(crystals):
    """Return the sound crystals of open sources, and how many others each source has."""
    sources, entries = zip(*(text.split(":", 1) for text in crystals.ids), strict=True)
    is_open = np.array([source in SOURCES for source in sources])
    is_sound = np.array(
        [open_ and contact_of(crystals, row) >= MIN_CONTACT for row, open_ in enumerate(is_open)]
    )
    is_sound[list(find_faults(crystals))] = False
    kept = np.flatnonzero(is_open & is_sound)
    ids = [f"{SOURCES[sources[row]]}:{entries[row].removesuffix('.cif')}" for row in kept]
    names = [crystals.names[row] or name(sources[row], entries[row]) for row in kept]
    left_out = Counter(sources[row] for row in np.flatnonzero(is_open & ~is_sound))
    return replace(crystals[kept], ids=ids, names=names), dict(left_out)


def main(argv=None):
    """Write the file and print how many entries are left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", metavar="FILE", nargs="+")
    parser.add_argument("--out", default=Path(__file__).with_name("data") / "experimental.npz", type=Path)
    options = parser.parse_args(argv)
    crystals, left_out = select(CrystalSet.concatenate([CrystalSet.load(path) for path in options.sources]))
    crystals.save(options.out)
    print(f"{len(crystals)} entries, {options.out.stat().st_size / 1e6:.2f} MB; left out: {left_out}")  # noqa: T201


if __name__ == "__main__":
    main()
