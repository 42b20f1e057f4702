"""Beam electrons: wavelength, and the scale of a diffraction pattern."""

import numpy as np
from scipy import constants


def electron_wavelength(beam_energy):
    r"""Relativistic wavelength of beam electrons in Å.

    :math:`\lambda = h / \sqrt{2 m E (1 + E / 2 m c^2)}` [1]_.

    Parameters
    ----------
    beam_energy : float or array-like
        In keV. It must be positive.

    Returns
    -------
    float or ndarray, in Å

    Raises
    ------
    ValueError
        If a beam energy is not a positive number.

    References
    ----------
    .. [1] D. B. Williams and C. B. Carter, Transmission Electron Microscopy (2009), equation 1.6.

    Examples
    --------
    >>> from xtalsk.simulation import electron_wavelength
    >>> round(float(electron_wavelength(200)), 5)
    0.02508
    """
    energy = np.asarray(beam_energy, dtype=float)
    if not (np.isfinite(energy) & (energy > 0)).all():
        raise ValueError(f"beam_energy must be a positive number of keV, got {beam_energy!r}")
    joule = energy * 1e3 * constants.e
    rest = constants.m_e * constants.c**2
    momentum = np.sqrt(2 * constants.m_e * joule * (1 + joule / (2 * rest)))
    return constants.h / momentum * 1e10


def camera_pixel_size(beam_energy, camera_length, pixel_pitch):
    """Width of a pixel at the centre of a diffraction pattern in 1/Å, on the scale q = 1/d.

    Parameters
    ----------
    beam_energy : float
        In keV.
    camera_length : float
        In mm.
    pixel_pitch : float
        Distance between neighbouring pixels of the detector in µm.

    Returns
    -------
    float, in 1/Å

    Raises
    ------
    ValueError
        If an argument is not positive.

    Examples
    --------
    >>> from xtalsk.simulation import camera_pixel_size
    >>> round(float(camera_pixel_size(200, camera_length=500, pixel_pitch=55)), 5)
    0.00439
    """
    for name, value in (("camera_length", camera_length), ("pixel_pitch", pixel_pitch)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value!r}")
    return pixel_pitch * 1e-3 / camera_length / electron_wavelength(beam_energy)


def on_screen(q, wavelength):
    """Distance from the direct beam on a flat screen in 1/Å: tan(2θ) / λ.

    Parameters
    ----------
    q : ndarray or tensor
        1/d in 1/Å.
    wavelength : float, ndarray or tensor
        In Å.

    Returns
    -------
    ndarray or tensor
        It equals q at small angles.
    """
    sine2 = (q * wavelength / 2) ** 2  # sin²θ
    return q * (1 - sine2) ** 0.5 / (1 - 2 * sine2)
