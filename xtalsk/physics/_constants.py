"""Constants of nature and of mathematics that several rooms need, from `scipy.constants` (CODATA)."""

import math

from scipy import constants

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian in units of its standard deviation, 2.3548."""

ELECTRON_REST_ENERGY_EV = constants.value("electron mass energy equivalent in MeV") * 1e6
"""Rest energy of the electron in eV, 510998.95."""

ELECTRON_REST_ENERGY_KEV = ELECTRON_REST_ENERGY_EV / 1e3
"""Rest energy of the electron in keV, 510.99895."""

RYDBERG_EV = constants.value("Rydberg constant times hc in eV")
"""Rydberg energy in eV, 13.605693."""

BOHR_RADIUS_CM = constants.value("Bohr radius") * 1e2
"""Bohr radius in cm, 5.29177e-9."""
