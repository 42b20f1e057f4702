from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.physics._depth import film_or_bulk
from xtalsk.spectra._composition import SpectrumComposition, check_elements
from xtalsk.spectra._signal_kind import check_is_xray_spectrum
from xtalsk.spectra.eds._constants import (
    DENSITY,
    FEWEST_CHANNELS,
    FILM_THICKNESS,
    LEAST_UPPER_END,
    THIN_BEAM_ENERGY,
    TYPICAL_RESOLUTION,
    WINDOWS,
)
from xtalsk.spectra.eds._counts import check_counts, unscaled_counts
from xtalsk.spectra.eds._quantify import quantify
from xtalsk.spectra.eds._setting import Setting
from xtalsk.utils import check_option
from xtalsk.utils._formula import N_ELEMENTS

_EV_PER_KEV, _NM_PER_CM = 1e3, 1e7


class EDSComposition(SpectrumComposition):
    """Atomic fractions of the elements in energy-dispersive X-ray spectra.

    `EDSComposition` needs neither a list of elements nor standards. It fits the lines of all elements, the
    background and the errors of the instrument together. It keeps the elements that nothing else explains.
    Their amounts follow from the physics of emission, absorption and detection.

    Parameters
    ----------
    elements : sequence of str or None, default=None
        Symbols of the elements to look for. None means all elements. Noble gases and elements without a
        stable isotope (except thorium and uranium) are then tried only where no others explain strong lines,
        and are NaN otherwise.
    n_sigma : float, default=4.0
        Significance in standard deviations that an element needs. Errors of the model and overlaps with other
        elements are part of the standard deviation.
    min_fraction : float, default=0.0075
        Smallest atomic fraction to report. Errors of the model can look like smaller amounts. The default is
        a little below 1 at%, where `ElementPresence` begins to count an element as present.
    exclude : sequence of str, default=()
        Symbols of elements that are in the spectrum but not in the specimen, such as those of the grid, the
        coating or the support. They are fitted but are not part of the composition.
    beam_energy : float or None, default=None
        Beam energy in keV for cells without one.
    takeoff_angle : float, default=35.0
        Angle in degrees of the detector above the surface, for cells without one.
    thickness_nm : float or "auto", default="auto"
        Thickness of the specimen in nm at 5 g/cm³, ``inf`` for bulk specimens. A specimen thicker than half
        the electron range is bulk. "auto" means bulk below 60 keV, and a film of 100 nm from 60 keV on.
    window : {"auto", "polymer", "beryllium", "none"}, default="auto"
        Entrance window of the detector. "auto" means the common polymer window below 60 keV, and no window
        from 60 keV on.
    lowest_energy : float, default=180.0
        Lowest energy in eV that is used.
    on_error : {"raise", "warn"}, default="raise"
        What an unusable spectrum causes: an error, or a warning and a row of NaN.
    cache : bool, default=False
        Whether to store the compositions of `Spectrum` objects. Cross-validation then analyses each spectrum
        once.
    n_jobs : int or None, default=None
        Number of parallel jobs; -1 uses all processors.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Names of the input columns, if they have names.

    See Also
    --------
    xtalsk.simulation.simulate_eds : Simulates such spectra.
    xtalsk.composition.ElementPresence : Turns fractions into features.
    EELSComposition : Atomic fractions from energy-loss spectra.

    Notes
    -----
    The columns of the table are those of `ElementFractions`, hydrogen first. Elements without a line that the
    detector can see are NaN, not zero. These are always hydrogen to boron. A beryllium window absorbs the
    lines of all elements up to fluorine. Elements of ``exclude`` and elements outside ``elements`` are NaN,
    too. So are elements that could make up a quarter of the atoms although their lines are not seen, because
    stronger lines of other elements lie over them, such as nitrogen in TiN or oxygen in VO. If no element is
    found, as in noise, all other columns are zero. A spectrum that the fit does not explain, such as one on a
    wrong energy axis, is a row of NaN, with a warning that names the row.

    *Counts.* Counts that were divided by one number, such as their maximum, are multiplied by it again.

    *Bins.* Neighbouring channels are summed to bins a quarter as wide as a line. NaN channels, single dead
    channels and single overflowed channels are ignored. So are energies below an electronic cut-off.

    *Lines.* Cross-sections, Coster-Kronig transitions, absorption and efficiency (see
    `xtalsk.simulation.simulate_eds`) give the ratios of the K, L, M and N lines [1]_ of an element. Groups of
    lines can deviate from them by 5% (K) to 100% (N), and by three times that below 1 keV. Each line has its
    escape peak and tail.

    *Background.* It is the predicted bremsstrahlung times a smooth factor. Sum peaks are the spectrum
    convolved with itself.

    *Instrument.* The shift of the energy axis may be up to 80 eV. A few elements are matched to the lines at
    each shift. The best shifts are fitted completely, and the best fit is kept. The strongest elements,
    whichever they are, then give offset, gain and small bends of the energy axis, the resolution and the
    tails.

    *Evidence.* Amounts are not negative. The fit leaves out the least significant element until all remaining
    elements reach ``n_sigma``. The most significant one must reach ``n_sigma`` + 1.5, otherwise no element is
    reported. An M line alone is no evidence where the L line of its element is missing, because the fit uses
    one amount for all lines of an element. Remaining errors of the model count as
    noise: 2% of a line, 1.5 eV of its position, 1% of its height within some widths, and 2 to 12% of the
    background. In spectra of millions of counts these errors limit the detection of elements.

    *Amounts.* Bulk specimens have the depth distribution of Pouchou and Pichoir [2]_. Films have no
    backscattering. Secondary fluorescence is neglected. The specimen is assumed to be flat and homogeneous.

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
        spectrum = check_spectrum(cell)
        check_is_xray_spectrum(cell, spectrum)
        if spectrum.beam_energy is None and self.beam_energy is None:
            raise ValueError(
                "the spectrum has no beam energy: set Spectrum(..., beam_energy=...) "
                "or the parameter beam_energy, in keV"
            )
        check_counts(spectrum.counts)
        usable = spectrum.energy[spectrum.energy > self.lowest_energy]
        if len(usable) < FEWEST_CHANNELS or usable[-1] < LEAST_UPPER_END:
            raise ValueError(
                f"the spectrum covers {spectrum.energy[0]:g} to {spectrum.energy[-1]:g} eV in "
                f"{len(spectrum.energy)} channels; it needs at least {FEWEST_CHANNELS} channels above "
                f"{self.lowest_energy:g} eV and must reach {LEAST_UPPER_END:g} eV (is the axis in eV?)"
            )
        return spectrum

    def _setting(self, spectrum):
        """Return the conditions of a spectrum, "auto" replaced, `Setting`."""
        beam_energy = self.beam_energy if spectrum.beam_energy is None else spectrum.beam_energy
        angle = self.takeoff_angle if spectrum.takeoff_angle is None else spectrum.takeoff_angle
        is_film = beam_energy >= THIN_BEAM_ENERGY
        thickness, window = self.thickness_nm, self.window
        if thickness == "auto":
            thickness = FILM_THICKNESS if is_film else np.inf
        if window == "auto":
            window = "none" if is_film else "polymer"
        return Setting(
            beam_energy=_EV_PER_KEV * beam_energy,
            takeoff_angle=float(angle),
            thickness=film_or_bulk(thickness * DENSITY / _NM_PER_CM, beam_energy),
            window=window,
            lowest=float(self.lowest_energy),
        )

    def _rare(self):
        """Return the elements to try where no others explain the lines, ndarray of bool of shape (99,)."""
        rare = np.zeros(N_ELEMENTS + 1, dtype=bool)
        rare[3:] = self.elements is None
        return rare

    def _analysis(self, spectrum):
        from xtalsk.spectra.eds._fit import best_trial, result_of  # imports numba

        setting = self._setting(spectrum)
        trial = best_trial(
            unscaled_counts(spectrum.counts),
            np.asarray(spectrum.energy, dtype=float),
            setting,
            **self._search_options(spectrum),
        )
        return self._quantified(result_of(trial, setting))

    def _search_options(self, spectrum):
        """Return the options of `best_trial` for a spectrum, dict."""
        allowed = self._allowed()
        allowed[check_elements("exclude", self.exclude)] = True
        return {
            "resolution": spectrum.energy_resolution or TYPICAL_RESOLUTION,
            "n_sigma": self.n_sigma,
            "allowed": allowed,
            "rare": self._rare(),
        }

    def _quantified(self, fit):
        """Return an `EDSFit` with fractions, presence and uncertainty."""
        unknown = ~self._allowed()[1:]
        unknown[fit.atomic_numbers - 1] = False  # also elements that were not looked for
        unknown[check_elements("exclude", self.exclude) - 1] = True
        return quantify(fit, unknown, self.min_fraction, self.n_sigma)

    def _failure(self, analysis):
        if self.elements is not None or analysis.explained:
            return None
        return (
            f"the fit does not explain the spectrum (reduced chi² {analysis.chi2:.3g}, deviations "
            f"{analysis.unexplained:.0%} of the lines); expected counts on an energy axis in eV at most "
            "80 eV off, and the right beam energy; analyse(cell).plot() shows the fit"
        )

    def analyse(self, cell):
        """Analyse one spectrum and return all results of the fit.

        Parameters
        ----------
        cell : Spectrum, path or HyperSpy signal

        Returns
        -------
        EDSFit
            It has the attributes ``elements`` (symbols), ``atomic_numbers``, ``fractions``, ``uncertainty``,
            ``presence`` and ``significance`` (shape (98,), hydrogen first), ``explained`` and ``chi2``
            (whether and how well the fit explains the spectrum) and ``shift`` (of the energy axis, eV). Its
            curves are ``energy`` (eV), ``counts``, ``curve`` (the fit) and ``background``, and ``lines`` with
            one row for each element. ``to_frame()`` returns the elements as a table, ``plot()`` draws the
            fit.

        Raises
        ------
        ValueError
            If the cell is not a spectrum of X-rays, has no beam energy, covers too few energies, or holds no
            counts.

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EDSConditions, simulate_eds
        >>> from xtalsk.spectra import EDSComposition
        >>> counts = simulate_eds(["PbS"], conditions="ideal", random_state=0)[0]
        >>> fit = EDSComposition().analyse(Spectrum(counts, EDSConditions.ideal().axis(), beam_energy=200))
        >>> fit.elements, fit.curve.shape == fit.energy.shape
        (['S', 'Pb'], True)
        """
        return self._analysis(self._check_cell(cell))
