"""Numbers of plans of measurements."""

ELECTRONS_PER_COUNT = 2e5
"""Electrons of the beam for one detected X-ray of a thin specimen.

For films of 100 nm at 200 kV and a detector of 0.7 sr, `line_yields` of `xtalsk.physics` gives 1e5 (nickel),
2e5 (titanium) and 4e5 (silicon).
"""
