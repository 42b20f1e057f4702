"""Maps of compositions of simulated spectrum images, and the same fits one pixel after the other."""

import time
import warnings

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from xtalsk import EDSComposition, EDSConditions, map_compositions, simulate_eds
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.utils._formula import SYMBOLS

PHASES, RARE = ("Mg2SiO4", "FeTiO3", "ZrSiO4"), 0.005
BEAM_ENERGY, N_PEER, N_EXSPY = 200.0, 2000, 20


def spectrum_image(size, dose, seed=0):
    """Simulate a spectrum image of two phases with a wavy boundary, and single pixels of a third one.

    Returns
    -------
    counts : ndarray of uint16, shape (size, size, 2048)
    phase : ndarray of int, shape (size, size)
    """
    rates = np.asarray(simulate_eds(PHASES, conditions="ideal", random_state=seed), dtype=float)
    rates /= rates.sum(1, keepdims=True)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    phase = (x + size / 25 * np.sin(8 * y / size) > size / 2).astype(int)
    phase[rng.uniform(size=phase.shape) < RARE] = 2
    counts = np.empty((size, size, rates.shape[1]), np.uint16)
    for row, own in zip(counts, phase, strict=True):
        row[:] = rng.poisson(dose * rates[own])
    return counts, phase


def clocks():
    """Wall time and processor time of all threads in s."""
    return np.array([time.perf_counter(), time.process_time()])


def rate_of_nnls(counts, elements):
    """Spectra per second of two weighted fits by `scipy.optimize.nnls` for each pixel, with known shapes."""
    pure = np.asarray(simulate_eds(list(elements), conditions="ideal", random_state=0), dtype=float)
    background = 1 / EDSConditions.ideal().axis().clip(100)
    columns = np.vstack([pure / pure.sum(1, keepdims=True), background / background.sum()])
    rows = counts.reshape(-1, counts.shape[-1])[:N_PEER]
    mean = rows.mean(0).clip(1e-6)
    start = clocks()
    for row in rows:
        root = mean**-0.5
        amplitudes = nnls((columns * root).T, row * root)[0]
        root = (amplitudes @ columns + 0.1 * mean) ** -0.5
        nnls((columns * root).T, row * root)
    return len(rows) / (clocks() - start)


def rate_of_exspy(counts, elements):
    """Spectra per second of the model of exspy with the elements that are known; None without exspy."""
    try:
        import exspy
    except ImportError:
        return None
    signal = exspy.signals.EDSTEMSpectrum(counts[:1, :N_EXSPY].astype(float))
    axis, start, step = signal.axes_manager.signal_axes[0], *np.array(EDSConditions.ideal().energy)[[0, 2]]
    axis.scale, axis.offset, axis.units, axis.name = step / 1e3, start / 1e3, "keV", "Energy"
    signal.set_microscope_parameters(beam_energy=BEAM_ENERGY)
    signal.set_elements(elements)
    signal.add_lines()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = signal.isig[0.2:].create_model()
        start = clocks()
        model.multifit(show_progressbar=False)
    return N_EXSPY / (clocks() - start)


def judge(compositions, phase, dose):
    """Errors of the fractions of each phase, and coverage of the uncertainties, list of dict."""
    index = [SYMBOLS.index(symbol) for symbol in compositions.elements]
    true = np.array(atomic_fractions(list(PHASES)))[:, index]
    rows = []
    for k, name in enumerate(PHASES):
        own, error = compositions.fractions[phase == k], compositions.uncertainty[phase == k]
        present = true[k] > 0
        deviation = own - true[k]
        regions = np.bincount(compositions.regions[phase == k] + 1)
        rows.append(
            {
                "counts": dose,
                "phase": name,
                "pixels": len(own),
                "bias": 100 * np.abs(deviation.mean(0)[present]).max(),
                "error": 100 * np.abs(deviation[:, present]).mean(),
                "uncertainty": 100 * error[:, present].mean(),
                "coverage": np.mean(np.abs(deviation[:, present]) <= error[:, present]),
                "absent": 100 * own[:, ~present].mean(),
                "in_one_region": regions.max() / len(own),
            }
        )
    return rows


def run(size, doses, n_jobs):
    """Print found elements, errors in at%, coverage and speed of maps; return the table of the phases."""
    analysis = EDSComposition(thickness_nm=50, takeoff_angle=20)
    options = {"energy": EDSConditions.ideal().axis(), "beam_energy": BEAM_ENERGY, "random_state": 0}
    rows = []
    for dose in doses:
        counts, phase = spectrum_image(size, dose)
        map_compositions(analysis, counts[:16], **options)  # compiles
        start = clocks()
        compositions = map_compositions(analysis, counts, n_jobs=n_jobs, **options)
        wall, processor = clocks() - start
        peer, exspy = (
            rate_of_nnls(counts, compositions.elements),
            rate_of_exspy(counts, compositions.elements),
        )
        print(compositions)
        print(f"{phase.size / wall:,.0f} spectra/s, {phase.size / processor:,.0f} per processor second")
        print(f"scipy nnls, one core: {peer[0]:,.0f} spectra/s, {peer[1]:,.0f} per processor second")
        if exspy is not None:
            print(f"exspy model, one core: {exspy[0]:,.1f} spectra/s, {exspy[1]:,.1f} per processor second")
        print(compositions.evidence.pivot_table("significance", "element", "found_in").round(1))
        rows += judge(compositions, phase, dose)
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    return table
