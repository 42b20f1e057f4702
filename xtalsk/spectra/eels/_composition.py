from numbers import Real

from sklearn.utils import check_scalar

from xtalsk.io._spectra import check_spectrum
from xtalsk.spectra._composition import SpectrumComposition
from xtalsk.spectra.eels._analysis import analyse_spectrum

_BEAM = ("beam_energy", "convergence_angle", "collection_angle")


class EELSComposition(SpectrumComposition):
    """Atomic fractions of the elements whose core losses an energy-loss spectrum shows.

    No list of elements is needed. The background and, one after another, the elements that explain most of
    what is left are fitted together, as long as they are significant.

    Parameters
    ----------
    elements : sequence of str or None, default=None
        Elements that may be there. None stands for all but the noble gases and those without a stable isotope
        (thorium and uranium are tried).
    n_sigma : float, default=6.0
        How many times its error an element must be, errors of the background and of other elements' fine
        structure included.
    beam_energy : float, default=200.0
        In keV, for cells that do not know theirs.
    convergence_angle, collection_angle : float, default=10.0 and 20.0
        Half angles in mrad, for cells that do not know theirs.
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
    xtalsk.simulation.eels : Renders such spectra.
    xtalsk.composition.ElementPresence : Takes the fractions on.

    Notes
    -----
    An element can be named from its K, L23 or (from rubidium on) M45 edge. It is NaN, not zero, where
    none of these lies in the window, where half of the atoms could be of it and go unseen, or where only
    other edges show it. Hydrogen and helium are always NaN. A spectrum in which nothing is found is a row
    of zeros besides; without losses above 40 eV it counts as not measured, a row of NaN.

    *Spectrum.* NaN, dead, saturated and outlying channels are left out. The noise is measured on the spectrum
    itself, so that its unit does not matter and negative counts do no harm. A zero-loss peak in the
    window sets the zero of the energies.

    *Edges.* Differential cross-sections for the beam and the apertures are those of `xtalsk.simulation.eels`,
    with usual white lines and some plural scattering, at onsets up to 10 eV off: spectrometers are badly
    calibrated, but all edges of a spectrum agree on where they stand.

    *Model.* It is linear: a background, one amplitude an element, and terms that theory leaves open, of which
    only the size is known (normal priors): smooth deviations of the background, fine structure near an onset,
    white lines, plural scattering, and cross-sections of the same element's edges relative to each other (10%
    for K to 80% for N67). They make up the systematic part of the errors.

    *Evidence.* An edge must be ``n_sigma`` times its error, rise by 1% of the spectrum, hold near its
    onset what it promises as a whole, stand where other edges say that onsets stand, and not be a small part
    of another one there; the element's other edges, as far as they would be seen, must be there. Delayed M
    edges and edges below 80 eV need more. In the end elements are left out that are not significant beside
    the others or make up less than 0.5% of the atoms.

    *Amounts* are the signal within 60 eV of the leading edge over its cross-section.

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
    >>> composition = EELSComposition().set_output(transform="pandas")
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
        beam_energy=200.0,
        convergence_angle=10.0,
        collection_angle=20.0,
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
            check_scalar(getattr(self, name), name, Real, min_val=0, include_boundaries="neither")
        self._allowed()

    def _check_cell(self, cell):
        return check_spectrum(cell)

    def _analysis(self, spectrum):
        beam = (getattr(spectrum, name) or getattr(self, name) for name in _BEAM)
        return analyse_spectrum(spectrum, self._allowed(), self.n_sigma, tuple(beam))

    def analyse(self, cell):
        """Analyse one spectrum and tell how.

        Parameters
        ----------
        cell : Spectrum, path or HyperSpy signal

        Returns
        -------
        EELSAnalysis
            With ``elements``, ``edges``, and the curves of data, fit and background.

        Raises
        ------
        ValueError
            If the cell is no spectrum or holds no losses above 40 eV.

        Examples
        --------
        >>> from xtalsk.io import Spectrum
        >>> from xtalsk.simulation import EELSConditions, simulate_eels
        >>> from xtalsk.spectra import EELSComposition
        >>> conditions = EELSConditions.ideal()
        >>> counts = simulate_eels(["TiN"], conditions=conditions, random_state=0)[0]
        >>> analysis = EELSComposition().analyse(Spectrum(counts, conditions.axis()))
        >>> [(name, round(energy)) for name, energy, _ in analysis.edges if energy > 300]
        [('N K', 402), ('Ti L23', 456)]
        """
        analysis = self._analysis(self._check_cell(cell))
        if analysis is None:
            raise ValueError("the spectrum holds no core losses: nothing above 40 eV, or no counts there")
        return analysis
