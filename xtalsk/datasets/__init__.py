"""Crystals and specimens: packaged structures, random crystals, simulated specimens.

The public names are loaded when used, because simulation needs torch.
"""

from importlib import import_module

_MODULE_OF = {
    "DownloadError": "_patient_session",
    "compound_groups": "_groups",
    "fetch_materials_project": "_materials_project",
    "fetch_optimade": "_optimade",
    "get_data_home": "_data_home",
    "load_amcsd": "_amcsd",
    "load_cif_tree": "_cif_tree",
    "load_compounds": "_compounds",
    "load_experimental": "_experimental",
    "load_prototypes": "_prototypes",
    "make_random_crystals": "_random",
    "make_specimens": "_specimens",
    "substitute_elements": "_substituted",
}

__all__ = list(_MODULE_OF)


def __getattr__(name):
    if name in _MODULE_OF:
        return getattr(import_module(f"xtalsk.datasets.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'xtalsk.datasets' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
