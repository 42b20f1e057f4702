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
        "FileCell",
        "Profile",
        "Scan",
        "ScanAxis",
        "Spectrum",
        "read_image",
        "read_profile",
        "read_specimens",
        "read_spectrum",
    ],
    "datasets": [
        "DownloadError",
        "compound_groups",
        "fetch_materials_project",
        "fetch_optimade",
        "get_data_home",
        "load_amcsd",
        "load_cif_tree",
        "load_compounds",
        "load_experimental",
        "load_prototypes",
        "make_random_crystals",
        "make_specimens",
        "substitute_elements",
    ],
    "diffraction": [
        "IndexingScores",
        "PeakHistogram",
        "PeakList",
        "PolarImage",
        "PowderProfile",
        "RadialProfile",
        "RingGeometry",
        "SpotLattice",
        "SpotProfile",
        "locate_spots",
    ],
    "spectra": [
        "CompositionMap",
        "EDSComposition",
        "EELSComposition",
        "SpectrumBins",
        "map_compositions",
    ],
    "composition": ["CompositionStatistics", "ElementFractions", "ElementPresence", "RankedElements"],
    "neural": ["FusionClassifier"],
    "library": [
        "CompoundBlend",
        "LibraryBlend",
        "LibraryMatch",
        "PrototypeBlend",
        "PrototypeMatch",
        "calibrate_image",
        "make_library",
    ],
    "streaming": [
        "CheckpointError",
        "SpecimenStream",
        "StoredStream",
        "fit_stream",
        "read_checkpoint",
        "write_stream",
    ],
    "baselines": ["make_baseline"],
    "compose": ["SpecimenColumns", "make_features"],
    "metrics": ["make_level_scorers"],
    "calibration": ["ConformalSets", "SymmetryCalibration", "calibrate_pipeline", "predict_at"],
    "model_selection": [
        "acquisition_curve",
        "compare",
        "dose_curve",
        "mcnemar_test",
        "paired_test",
        "plan_acquisition",
    ],
    "mapping": ["StructureMap", "map_structures"],
    "pretrained": ["ModelCard", "load_pretrained"],
    "persistence": ["ModelFileError", "VersionWarning", "load", "save"],
    "inspection": [
        "AcquisitionPlanDisplay",
        "BlockImportanceDisplay",
        "ComparisonDisplay",
        "DoseCurveDisplay",
        "EmbeddingDisplay",
        "IdentificationDisplay",
        "OcclusionDisplay",
        "SetCoverageDisplay",
        "StructureMapDisplay",
        "SymmetryConfusionDisplay",
        "block_importance",
        "q_occlusion",
    ],
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name):
    if name in _MODULE_OF:
        return getattr(import_module(f"xtalsk.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'xtalsk' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
