"""Electron diffraction images: ring images of polycrystals, spot patterns of single crystals, the camera."""
