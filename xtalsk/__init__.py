"""scikit-learn estimators that determine crystal structure from diffraction and chemistry.

Import a public name from here or from its module. The package loads a module when one of its names is used.
"""

from importlib import import_module

from xtalsk._version import __version__

_PUBLIC = {
    "crystals": ["BrokenEntryWarning", "CrystalSet"],
    "simulation": [
        "Detector",
        "EDSConditions",
        "EELSConditions",
        "FormulaConditions",
        "PowderConditions",
        "Reflections",
        "RingConditions",
        "Sometimes",
        "SpotConditions",
        "camera_pixel_size",
        "simulate_eds",
        "simulate_eels",
        "electron_wavelength",
        "simulate_formulas",
        "simulate_powder",
        "compute_reflections",
        "simulate_rings",
        "simulate_spots",
        "vary_sites",
    ],
    "io": [
        "BrokenFileError",
        "DiffractionImage",
        "Profile",
        "Spectrum",
        "read_image",
        "read_profile",
        "read_spectrum",
    ],
    "datasets": ["compound_groups", "load_amcsd", "make_random_crystals", "make_specimens"],
    "diffraction": ["IndexingScores", "PeakHistogram", "PowderProfile", "RadialProfile", "RingGeometry"],
    "spectra": ["EDSComposition", "EELSComposition", "SpectrumBins"],
    "composition": ["CompositionStatistics", "ElementFractions", "ElementPresence", "RankedElements"],
    "neural": ["FusionClassifier"],
    "library": ["LibraryBlend", "LibraryMatch", "calibrate_image", "make_library"],
    "streaming": ["CheckpointError", "SpecimenStream", "fit_stream", "read_checkpoint"],
    "baselines": ["make_baseline"],
    "compose": ["SpecimenColumns", "make_features"],
    "metrics": ["make_level_scorers"],
    "model_selection": ["compare", "paired_test"],
    "inspection": ["ComparisonDisplay", "IdentificationDisplay"],
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name):
    if name in _MODULE_OF:
        return getattr(import_module(f"xtalsk.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'xtalsk' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
