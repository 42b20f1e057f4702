from numbers import Real

from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.spectra._composition import SpectrumComposition
from xtalsk.spectra._signal_kind import check_is_loss_spectrum
from xtalsk.spectra.eels._analysis import analyse_spectrum

_BEAM = ("beam_energy", "convergence_angle", "collection_angle")


class EELSComposition(SpectrumComposition):
    """Atomic fractions of elements from the core losses of an energy-loss spectrum.

    No list of elements is needed. The background and the elements are fitted together. The element that
    explains most of the remaining signal is added first, and elements are added as long as they are
    significant.

    Parameters
    ----------
    elements : sequence of str or None, default=None
        Symbols of the elements to search for. None stands for all elements except the noble gases and the
        elements without a stable isotope; thorium and uranium are included.
    n_sigma : float, default=6.0
        Significance that an element needs: its amplitude over its error. The error includes the systematic
        errors of the background and of the fine structure of other elements.
    beam_energy : float or None, default=None
        Beam energy in keV, for spectra without one.
    convergence_angle, collection_angle : float or None, default=None
        Half angles of the beam and of the spectrometer in mrad, for spectra without them.
    on_error : {"raise", "warn"}, default="raise"
        What happens if a spectrum cannot be used: "raise" raises the error, "warn" gives a warning and treats
        the spectrum as missing.
    cache : bool, default=False
        Whether to keep the compositions of `Spectrum` objects in memory, for example for cross-validation.
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
    xtalsk.simulation.simulate_eels : Simulates energy-loss spectra.
    xtalsk.composition.ElementPresence : Turns atomic fractions into the presence of elements.

    Notes
    -----
    *Missing values.* An element can be identified by its K, L23 or (from rubidium on) M45 edge. It is NaN,
    not zero, if none of these edges lies in the window, if half of the atoms could be of this element without
    a significant edge, or if only other edges show it. Hydrogen and helium are always NaN. If no element is
    found, all other elements are zero. A spectrum without losses above 40 eV is a row of NaN, like a missing
    one.

    *Spectrum.* Channels that are NaN, dead or saturated, and single outliers, are left out. The noise is
    estimated from the spectrum itself: the unit of the counts does not matter, and counts may be negative. If
    the window holds the zero-loss peak, the peak defines the zero of the energy axis, wherever it is.
    `EELSAnalysis` has its position as ``zero_loss``. Beam energy and angles set the ratios of the
    cross-sections: a spectrum without them is an error unless the parameters give them. X-ray spectra are
    refused.

    *Edges.* The differential cross-sections for the beam and the apertures are those of
    `xtalsk.simulation.simulate_eels`, with typical white lines and some plural scattering. Onsets may be
    shifted by up to 10 eV, because spectrometers are often badly calibrated. The shifts of all edges of a
    spectrum must be similar.

    *Model.* The model is linear: a background, one amplitude per element, and systematic terms with normal
    priors. These terms are smooth deviations of the background, fine structure near an onset, white lines,
    plural scattering, and errors of the cross-sections of the edges of one element relative to each other
    (10% for K to 80% for N67). They are the systematic part of the errors.

    *Significance.* The lead of an element is its edge with the strongest evidence. Its amplitude must be
    ``n_sigma`` times its error. The edge must rise by 1% of the spectrum. Near its onset it must have the
    signal expected from the whole edge. Its shift must agree with that of other edges. It must not be a small
    part of another edge at the same energy. Other edges of the element must be present if they are strong
    enough to be seen. Delayed M edges and edges below 80 eV need stronger evidence. At the end, elements that
    are not significant beside the others, or that make up less than 0.5% of the atoms, are removed.

    *Quantification.* The amount of an element is the signal within 60 eV above the onset of its lead, divided
    by the cross-section.

    References
    ----------
    .. [1] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), ch. 4.
    .. [2] J. Verbeeck and S. Van Aert, Ultramicroscopy 101 (2004) 207 (model-based quantification).

    Examples
    --------
    >>> from xtalsk.io import Spectrum
    >>> from xtalsk.simulation import EELSConditions, simulate_eels
    >>> from xtalsk.spectra import EELSComposition
    >>> conditions = EELSConditions.ideal()
    >>> counts = simulate_eels(["MgO"], conditions=conditions, random_state=0)[0]
    >>> spectrum = Spectrum(counts, conditions.axis(), beam_energy=200, collection_angle=20)
    >>> composition = EELSComposition(convergence_angle=5).set_output(transform="pandas")
    >>> composition.fit_transform([spectrum, None])[["h", "o", "mg", "fe"]].round(1)
        h    o   mg   fe
    0 NaN  0.5  0.5  0.0
    1 NaN  NaN  NaN  NaN
    """

    def __init__(
        self,
        elements=None,
        n_sigma=6.0,
        *,
        beam_energy=None,
        convergence_angle=None,
        collection_angle=None,
        on_error="raise",
        cache=False,
        n_jobs=None,
    ):
        self.elements = elements
        self.n_sigma = n_sigma
        self.beam_energy = beam_energy
        self.convergence_angle = convergence_angle
        self.collection_angle = collection_angle
        self.on_error = on_error
        self.cache = cache
        self.n_jobs = n_jobs

    def _check_params(self):
        check_scalar(self.n_sigma, "n_sigma", Real, min_val=1)
        for name in _BEAM:
            if getattr(self, name) is not None:
                check_scalar(getattr(self, name), name, Real, min_val=0, include_boundaries="neither")
        self._allowed()

    def _check_cell(self, cell):
        spectrum = check_spectrum(cell)
        check_is_loss_spectrum(cell, spectrum)
        missing = [name for name, value in self._beam(spectrum).items() if value is None]
        if missing:
            raise ValueError(
                f"the spectrum has no {' and no '.join(name.replace('_', ' ') for name in missing)} (keV, "
                f"mrad): set Spectrum(..., {', '.join(f'{name}=...' for name in missing)}) or the parameters "
                "of the same names of EELSComposition"
            )
        return spectrum

    def _beam(self, spectrum):
        """Return beam energy (keV) and half angles (mrad) by name; None where nothing gives them."""
        values = {name: getattr(spectrum, name) for name in _BEAM}
        return {name: getattr(self, name) if value is None else value for name, value in values.items()}

    def _analysis(self, spectrum):
        beam = tuple(self._beam(spectrum).values())
        return analyse_spectrum(spectrum, self._allowed(), self.n_sigma, beam)

    def analyse(self, cell):
        """Analyse one spectrum, for example to plot the fit.

        Parameters
        ----------
        cell : Spectrum, path or HyperSpy signal

        Returns
        -------
        EELSAnalysis
            Its attributes are ``elements``, ``atomic_numbers``, ``fractions``, ``uncertainty``, ``presence``,
            ``significance``, ``edges``, ``zero_loss`` (eV or None), and the curves ``energy``, ``counts``,
            ``curve`` and ``background``. ``to_frame()`` returns the elements as a table, ``plot()`` draws
            the fit.

        Raises
        ------
        ValueError
            If the cell is not a spectrum or one of X-rays, if the beam energy or an angle is unknown, or if
            the spectrum holds no counts above 40 eV.

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EELSConditions, simulate_eels
        >>> from xtalsk.spectra import EELSComposition
        >>> conditions = EELSConditions.ideal()
        >>> counts = simulate_eels(["TiN"], conditions=conditions, random_state=0)[0]
        >>> beam = {"beam_energy": 200, "convergence_angle": 5, "collection_angle": 20}
        >>> analysis = EELSComposition(**beam).analyse(Spectrum(counts, conditions.axis()))
        >>> [(name, round(energy)) for name, energy, _ in analysis.edges if energy > 300]
        [('N K', 402), ('Ti L23', 456)]
        """
        analysis = self._analysis(self._check_cell(cell))
        if analysis is None:
            raise ValueError("the spectrum holds no core losses: it has no channels or no counts above 40 eV")
        return analysis
