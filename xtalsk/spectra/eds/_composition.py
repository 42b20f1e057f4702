from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.physics._depth import film_or_bulk
from xtalsk.spectra._composition import SpectrumComposition, check_elements
from xtalsk.spectra.eds._fit import Setting, identify
from xtalsk.spectra.eds._library import TYPICAL_RESOLUTION, WINDOWS
from xtalsk.spectra.eds._quantify import quantify
from xtalsk.utils import check_option

_THIN_BEAM, _THIN, _DENSITY = 60.0, 100.0, 5.0  # keV, nm, g/cm³
_FEWEST_CHANNELS = 100
_EV, _NM_PER_CM = 1e3, 1e7


class EDSComposition(SpectrumComposition):
    """Atomic fractions of the elements whose X-rays a spectrum shows.

    No list of elements is needed, and no standards: lines of all elements, background and the errors of the
    instrument are fitted together, elements are kept that nothing else explains, and their amounts follow
    from the physics of emission, absorption and detection.

    Parameters
    ----------
    elements : sequence of str or None, default=None
        Elements that may be there. None stands for all but the noble gases and those without a stable isotope
        (thorium and uranium are tried).
    n_sigma : float, default=4.0
        Standard deviations that an element must have, errors of the model and overlaps with other elements
        included.
    min_fraction : float, default=0.0075
        Smallest atomic fraction to report, a little below the 1 at% that counts as present elsewhere; smaller
        amounts are not told from errors of the model.
    exclude : sequence of str, default=()
        Elements that are seen but not of the specimen, such as those of the grid, the coat or the support.
        They are fitted, and left out of the composition.
    beam_energy : float or None, default=None
        In keV, for cells that do not know theirs.
    takeoff_angle : float, default=35.0
        Of the detector above the surface in degrees, for cells that do not know theirs.
    thickness_nm : float or "auto", default="auto"
        Of the specimen in nm at 5 g/cm³, ``inf`` for bulk specimens; more than half the range of electrons is
        bulk, too. "auto" takes specimens for bulk below 60 keV and for films of 100 nm above.
    window : {"auto", "polymer", "beryllium", "none"}, default="auto"
        Entrance window of the detector: "auto" stands for the common polymer window below 60 keV, and for
        none above.
    lowest_energy : float, default=180.0
        In eV; channels below are not used.
    on_error : {"raise", "warn"}, default="raise"
        Whether a spectrum that cannot be used is an error, or a warning after which it counts as not
        measured.
    cache : bool, default=False
        Whether to remember the compositions of `Spectrum` objects, which cross-validation asks for again.
    n_jobs : int or None, default=None
        Number of parallel jobs; -1 uses all processors.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Their names, where they have names.

    See Also
    --------
    xtalsk.simulation.eds : Renders such spectra.
    xtalsk.composition.ElementPresence : Takes the fractions on.
    EELSComposition : The same for energy losses.

    Notes
    -----
    The table has the columns of `ElementFractions`, hydrogen first. Elements without a line that the detector
    would see are NaN, not zero: hydrogen to boron always, all elements up to fluorine behind beryllium. So
    are ``exclude`` and those that were not looked for. A spectrum in which nothing is found, as one of
    noise, is a row of zeros besides.

    *Bins.* Channels are added up to bins a quarter as wide as a line. NaN, single dead and run-over channels
    are left out, energies below an electronic cut-off are not used.

    *Lines* of K, L, M and N shells [1]_ have ratios that follow from cross-sections, Coster-Kronig
    transitions, absorption and efficiency (see `xtalsk.simulation.eds`); groups of lines may deviate from
    them by 5% (K) to 100% (N), three times that below 1 keV. Escape peaks and tails are part of each line.

    *Background* is the expected bremsstrahlung times a smooth factor. Sum peaks are the spectrum
    convolved with itself.

    *Instrument.* Zero, gain, small bends of the energy axis, resolution and tails are found from strong
    elements, whichever they are, first.

    *Evidence.* Elements are fitted with amounts that are not negative, and the least significant one is left
    out until all that remain reach ``n_sigma``, the first of them 1.5 more. An M line without its L line
    is no element, since both belong to one amount. What is left of errors of the model (2% of a line, 1.5 eV
    of its place, 1% of its height within some widths, 2 to 12% of the background) counts as noise: in spectra
    of millions of counts it is this, not counting, that limits what can be named.

    *Amounts.* Bulk specimens: depth distribution of Pouchou and Pichoir [2]_; films: no backscattering.
    Neither has fluorescence by other X-rays. Both assume a flat and homogeneous specimen.

    References
    ----------
    .. [1] T. Schoonjans et al., Spectrochim. Acta B 66 (2011) 776.
    .. [2] J.-L. Pouchou and F. Pichoir, in Electron Probe Quantitation (1991), p. 31.

    Examples
    --------
    >>> from xtalsk.io import Spectrum
    >>> from xtalsk.simulation import EDSConditions, simulate_eds
    >>> from xtalsk.spectra import EDSComposition
    >>> axis = EDSConditions.ideal().axis()
    >>> counts = simulate_eds(["SrTiO3"], conditions="ideal", random_state=0)[0]
    >>> spectrum = Spectrum(counts, energy=axis, beam_energy=200, takeoff_angle=20)
    >>> composition = EDSComposition(thickness_nm=50).set_output(transform="pandas")
    >>> composition.fit_transform([spectrum, None])[["h", "o", "ti", "ba", "sr"]].round(1)
        h    o   ti   ba   sr
    0 NaN  0.6  0.2  0.0  0.2
    1 NaN  NaN  NaN  NaN  NaN
    """

    def __init__(
        self,
        elements=None,
        n_sigma=4.0,
        *,
        min_fraction=0.0075,
        exclude=(),
        beam_energy=None,
        takeoff_angle=35.0,
        thickness_nm="auto",
        window="auto",
        lowest_energy=180.0,
        on_error="raise",
        cache=False,
        n_jobs=None,
    ):
        self.elements = elements
        self.n_sigma = n_sigma
        self.min_fraction = min_fraction
        self.exclude = exclude
        self.beam_energy = beam_energy
        self.takeoff_angle = takeoff_angle
        self.thickness_nm = thickness_nm
        self.window = window
        self.lowest_energy = lowest_energy
        self.on_error = on_error
        self.cache = cache
        self.n_jobs = n_jobs

    def _check_params(self):
        check_scalar(self.n_sigma, "n_sigma", Real, min_val=1)
        check_scalar(self.min_fraction, "min_fraction", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(self.lowest_energy, "lowest_energy", Real, min_val=100)
        check_scalar(self.takeoff_angle, "takeoff_angle", Real, min_val=1, max_val=90)
        if self.beam_energy is not None:
            check_scalar(self.beam_energy, "beam_energy", Real, min_val=1)
        check_option("window", self.window, ("auto", *WINDOWS))
        if self.thickness_nm != "auto":
            check_scalar(self.thickness_nm, "thickness_nm", Real, min_val=0, include_boundaries="neither")
        check_elements("exclude", self.exclude)
        self._allowed()

    def _check_cell(self, cell):
        spectrum = check_spectrum(cell, beam_energy=self.beam_energy, takeoff_angle=self.takeoff_angle)
        if spectrum.beam_energy is None:
            raise ValueError(
                "the spectrum does not say what the beam energy was: give Spectrum(..., beam_energy=...) "
                "or the parameter beam_energy, in keV"
            )
        usable = spectrum.energy[spectrum.energy > self.lowest_energy]
        if len(usable) < _FEWEST_CHANNELS or usable[-1] < 1500:
            raise ValueError(
                f"the spectrum covers {spectrum.energy[0]:g} to {spectrum.energy[-1]:g} eV in "
                f"{len(spectrum.energy)} channels; at least {_FEWEST_CHANNELS} channels above "
                f"{self.lowest_energy:g} eV that reach 1500 eV are needed (is the axis in eV?)"
            )
        return spectrum

    def _setting(self, spectrum):
        thin = spectrum.beam_energy >= _THIN_BEAM
        thickness = (_THIN if thin else np.inf) if self.thickness_nm == "auto" else self.thickness_nm
        window = ("none" if thin else "polymer") if self.window == "auto" else self.window
        return Setting(
            beam_energy=_EV * spectrum.beam_energy,
            takeoff_angle=float(spectrum.takeoff_angle),
            thickness=film_or_bulk(thickness * _DENSITY / _NM_PER_CM, spectrum.beam_energy),
            window=window,
            lowest=float(self.lowest_energy),
        )

    def _analysis(self, spectrum):
        excluded = check_elements("exclude", self.exclude)
        allowed = self._allowed()
        unknown = ~allowed[1:]
        unknown[excluded - 1] = True
        allowed[excluded] = True
        fit = identify(
            np.asarray(spectrum.counts, dtype=float),
            np.asarray(spectrum.energy, dtype=float),
            self._setting(spectrum),
            resolution=spectrum.energy_resolution or TYPICAL_RESOLUTION,
            n_sigma=self.n_sigma,
            allowed=allowed,
        )
        quantify(fit, unknown, self.min_fraction, self.n_sigma)
        return fit

    def analyse(self, cell):
        """Analyse one spectrum and tell how.

        Parameters
        ----------
        cell : Spectrum, path or HyperSpy signal

        Returns
        -------
        EDSFit
            With ``elements``, ``fractions``, ``scores``, and the curves of data, fit, background and of each
            element's lines.

        Raises
        ------
        ValueError
            If the cell is no spectrum that can be used.

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EDSConditions, simulate_eds
        >>> from xtalsk.spectra import EDSComposition
        >>> counts = simulate_eds(["PbS"], conditions="ideal", random_state=0)[0]
        >>> fit = EDSComposition().analyse(Spectrum(counts, EDSConditions.ideal().axis(), beam_energy=200))
        >>> fit.elements.tolist(), fit.curve.shape == fit.energy.shape
        ([16, 82], True)
        """
        return self._analysis(self._check_cell(cell))
