"""Elements and amounts from X-ray and energy-loss spectra, with no element list given.

``python benchmarks/bench_spectra.py measured FOLDER...`` analyses the measured spectra of folders (``.msa``
files whose ``##D2STDCMP`` tells the composition, and strontium titanate as ``.emd`` and ``.dm3``) and those
that exspy packages, beside a list of peaks looked up in a table of lines, and exspy's Cliff-Lorimer
quantification.

``python benchmarks/bench_spectra.py simulated`` does 2,000 compositions of AMCSD at several doses, and times
it.

``python benchmarks/bench_spectra.py scan`` simulates every element and the usual compounds with pile-up and a
shifted energy axis, and lists the spectra with missed or false elements.

``python benchmarks/bench_spectra.py losses`` does the same for energy losses of 500 compositions.

``python benchmarks/bench_spectra.py map`` maps the compositions of a spectrum image of three phases, one of
them in 0.5% of the pixels, beside one fit of `scipy.optimize.nnls` and of an exspy model for each pixel.

``python benchmarks/bench_spectra.py job`` tells crystal structures from rings and spectra instead of a
formula.
"""

import argparse
import re
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import _composition_maps
import _element_scan
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.signal import find_peaks
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from xtalsk import (
    CompositionStatistics,
    EDSComposition,
    EDSConditions,
    EELSComposition,
    EELSConditions,
    ElementFractions,
    ElementPresence,
    FusionClassifier,
    RadialProfile,
    RankedElements,
    RingConditions,
    Spectrum,
    compare,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
    read_spectrum,
    simulate_eds,
    simulate_eels,
)
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.utils import BrokenCellWarning
from xtalsk.utils._formula import SYMBOLS

RESULTS = Path(__file__).parent / "results"
LOWEST_Z, LEAST = 6, 0.01
NATIVE_OXIDES = {
    "Mg",
    "Al",
    "Si",
    "Ti",
    "Cr",
    "Mn",
    "Fe",
    "Ni",
    "Cu",
    "Zn",
}  # elements with an oxide film in air


def vector(amounts, masses=False):
    """Atomic fractions of a mapping of symbols to amounts, or to masses."""
    from pymatgen.core import Element

    out = np.zeros(len(SYMBOLS))
    for symbol, amount in amounts.items():
        out[SYMBOLS.index(symbol)] = amount / (float(Element(symbol).atomic_mass) if masses else 1)
    return out / out.sum()


def judge(found, true, excused):
    """Compare fractions found with the true ones.

    Returns
    -------
    dict
        Elements of 1 at% and more seen and missed, the false ones, and the mean absolute error in at%.
    """
    found = np.nan_to_num(found)
    visible = np.arange(1, len(true) + 1) >= LOWEST_Z
    expected = (true >= LEAST) & visible
    wrong = (found > 0) & (true == 0) & visible & ~np.isin(SYMBOLS, list(excused))
    own = np.where(np.isin(SYMBOLS, list(excused)) & (true == 0), 0, found)
    own = own / max(own.sum(), 1e-9)
    truth = np.where(visible, true, 0)
    return {
        "expected": expected.sum(),
        "missed": " ".join(np.array(SYMBOLS)[expected & (found == 0)]),
        "n_missed": (expected & (found == 0)).sum(),
        "false": " ".join(np.array(SYMBOLS)[wrong]),
        "n_false": wrong.sum(),
        "error": 100 * np.abs(own - truth / truth.sum())[expected].mean() if expected.any() else np.nan,
    }


def looked_up_peaks(spectrum):
    """Elements by peaks alone: each is of the element whose strong line is nearest."""
    from exspy.material import elements

    counts, energy = np.asarray(spectrum.counts, dtype=float), spectrum.energy
    step = energy[1] - energy[0]
    smooth = np.convolve(counts, np.ones(5) / 5, mode="same")
    peaks, _ = find_peaks(smooth, prominence=4 * np.sqrt(smooth.max() / 50), width=20 / step)
    lines = []
    for symbol in SYMBOLS[2:92]:
        known = elements[symbol].as_dictionary()["Atomic_properties"].get("Xray_lines", {})
        energies = [known[name]["energy (keV)"] for name in ("Ka", "La", "Ma") if name in known]
        lines += [(1e3 * energy, symbol) for energy in energies if energy < spectrum.beam_energy]
    found = set()
    for peak in energy[peaks]:
        if peak > 180:
            distance, symbol = min((abs(line - peak), symbol) for line, symbol in lines)
            found |= {symbol} if distance < 40 else set()
    return vector(dict.fromkeys(found, 1.0)) if found else np.zeros(len(SYMBOLS))


def standards(folder):
    """Measured spectra of a folder of EMSA files whose header tells the mass per cent of each element."""
    for path in sorted(Path(folder).rglob("*.msa")):
        header = re.search(r"##D2STDCMP\s*:(.*)", path.read_text(encoding="latin-1"))
        masses = re.findall(r"\(([A-Z][a-z]?):([\d.]+)\)", header[1]) if header else []
        if masses:
            true = vector({symbol: float(mass) for symbol, mass in masses}, masses=True)
            formula = header[1].split(",")[0].strip()
            excused = {"C", "O"} if formula in NATIVE_OXIDES else {"C"}
            yield f"{path.parent.name}/{path.stem}", formula, read_spectrum(path), true, excused


def packaged():
    """Spectra that exspy packages: FePt particles on a copper grid, and the test material TM002."""
    import exspy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        particles, material = exspy.data.EDS_TEM_FePt_nanoparticles(), exspy.data.EDS_SEM_TM002()
    true = vector({"Fe": 0.5, "Pt": 0.5})
    yield "exspy/FePt", "FePt", particles, true, {"C", "Cu", "O", "Si"}
    true = vector({"C": 1, "Al": 1, "Mn": 1, "Cu": 1, "Zr": 1})
    yield "exspy/TM002", "TM002", material, true, {"O", "Si"}


def cliff_lorimer():
    """Iron and platinum in the FePt particles by exspy, which is told that these are the elements."""
    import exspy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = exspy.data.EDS_TEM_FePt_nanoparticles()
        signal.set_lines(["Fe_Ka", "Pt_La"])
        windows = signal.estimate_background_windows(line_width=[5.0, 2.0])
        intensities = signal.get_lines_intensity(background_windows=windows)
        percent = signal.quantification(intensities, method="CL", factors=[1.450226, 5.075602])
    return {p.metadata.Sample.elements[0]: float(p.data[0]) / 100 for p in percent}


def measured(folders):
    cases = [case for folder in folders for case in standards(folder)] + list(packaged())
    analysis = EDSComposition().fit([None])
    rows = []
    for name, material, cell, true, excused in cases:
        row = {"name": name, "material": material}
        start = time.perf_counter()
        found = analysis.transform([cell])[0]
        row["seconds"] = time.perf_counter() - start
        row |= judge(found, true, excused)
        if isinstance(cell, Spectrum):
            row["false_peaks"] = judge(looked_up_peaks(cell), true, excused)["n_false"]
        if material in ("FePt", "TM002"):
            row["error"] = np.nan  # the amounts are not certified
            own = {s: f for s, f in zip(SYMBOLS, found, strict=True) if f > 0 and s not in excused}
            print(name, {s: round(float(f / sum(own.values())), 3) for s, f in own.items()})
        rows.append(row)
    table = pd.DataFrame(rows)
    print(table.drop(columns="seconds").to_string(index=False))
    groups = table.groupby("material")[["expected", "n_missed", "n_false", "false_peaks", "error"]].mean()
    print(f"\n{len(table)} spectra of {len(groups)} materials, means over materials:")
    print(f"recall {1 - groups.n_missed.sum() / groups.expected.sum():.3f}", end=", ")
    print(f"false elements per spectrum {groups.n_false.mean():.2f}", end=" ")
    print(f"(peaks looked up {groups.false_peaks.mean():.2f}), mean error {groups.error.mean():.2f} at%")
    print("exspy, Cliff-Lorimer, told the elements:", cliff_lorimer())
    titanate(folders)


def titanate(folders):
    """Strontium titanate: what is found in the X-ray and in the energy-loss spectrum."""
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.emd")) + sorted(Path(folder).rglob("*.dm3")):
            losses = path.suffix == ".dm3"
            model = EELSComposition() if losses else EDSComposition(exclude=("C", "Cu"))
            found = model.fit_transform([read_spectrum(path)])[0]
            amounts = {s: round(float(f), 3) for s, f in zip(SYMBOLS, found, strict=True) if f > 0}
            print(path.name, amounts)


def simulated(n, doses, n_jobs):
    """Recall, false elements, error and speed against the dose."""
    formulas = load_amcsd().formulas
    chosen = np.random.RandomState(0).choice(len(formulas), n, replace=False)
    formulas = [formulas[i] for i in chosen]
    true = np.array(atomic_fractions(formulas))
    kinds = {
        "film, 200 keV": replace(EDSConditions(), takeoff_angle=20.0, copper=0.0, carbon=0.0, silicon=0.0),
        "bulk, 15 keV": replace(
            EDSConditions.scanning(), beam_energy=15.0, takeoff_angle=35.0, carbon=0.0, silicon=0.0
        ),
    }
    rows = []
    for kind, conditions in kinds.items():
        for dose in doses:
            recorded = replace(conditions, counts=dose)
            counts = simulate_eds(formulas, conditions=recorded, random_state=0)
            axis, beam = recorded.axis(), float(recorded.beam_energy)
            cells = [
                Spectrum(c, axis, beam_energy=beam, takeoff_angle=recorded.takeoff_angle) for c in counts
            ]
            model = EDSComposition(n_jobs=n_jobs).fit(cells[:1])
            model.transform(cells[:64])
            start = time.perf_counter()
            found = model.transform(cells)
            rate = n / (time.perf_counter() - start)
            judged = pd.DataFrame([judge(f, t, ()) for f, t in zip(found, true, strict=True)])
            named = (judged.expected - judged.n_missed).sum()
            rows.append(
                {
                    "kind": kind,
                    "counts": dose,
                    "recall": named / judged.expected.sum(),
                    "precision": named / (named + judged.n_false.sum()),
                    "false": judged.n_false.mean(),
                    "error": judged.error.mean(),
                    "spectra_per_second": rate,
                }
            )
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(RESULTS / "spectra.csv", index=False, float_format="%.4f")
    draw(table)


def scan(n_repeats, n_jobs):
    """Every element and the usual compounds; see _element_scan.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrokenCellWarning)
        table = _element_scan.scan(judge, vector, n_repeats=n_repeats, n_jobs=n_jobs)
    _element_scan.report(table)
    groups = table.groupby(["setting", "counts", "family"], sort=False)
    summary = groups[["expected", "n_missed", "n_false", "error"]].agg(
        {"expected": "sum", "n_missed": "sum", "n_false": "sum", "error": "mean"}
    )
    summary.insert(0, "spectra", groups.size())
    summary.to_csv(RESULTS / "element_scan.csv", float_format="%.4f")


def draw(table):
    """Draw recall, false elements and error against counts."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    titles = {
        "recall": "elements of 1 at% or more that are named",
        "false": "false elements per spectrum",
        "error": "mean error of a fraction (at%)",
    }
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for (kind, part), color in zip(table.groupby("kind"), ("#2171b5", "#d94801"), strict=False):
            ax.plot(part.counts, part[column], "o-", color=color, label=kind)
        ax.set(xscale="log", xlabel="counts in the spectrum", title=title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_ylim(0 if column != "recall" else 0.8, None if column != "recall" else 1.005)
    axes[0].legend(frameon=False)
    figure.savefig(RESULTS / "spectra.png", dpi=110)


def edges_within(low, high):
    """Whether each element has a K, L3 or (from rubidium on) M5 edge in a window, 60 eV of it at least."""
    import xraylib

    shells = (xraylib.K_SHELL, 1), (xraylib.L3_SHELL, 3), (xraylib.M5_SHELL, 37)
    within = np.zeros(len(SYMBOLS), bool)
    for z in range(3, len(SYMBOLS) + 1):
        for shell, first in shells:
            with suppress(ValueError):
                energy = 1e3 * xraylib.EdgeEnergy(z, shell)
                within[z - 1] |= z >= first and low + 20 < energy < high - 60
    return within


def losses(n, doses, n_jobs):
    """Recall, precision, error and speed of energy losses against the dose."""
    formulas = load_amcsd().formulas
    formulas = [formulas[i] for i in np.random.RandomState(0).choice(len(formulas), n, replace=False)]
    true = np.array(atomic_fractions(formulas))
    conditions = replace(EELSConditions(), energy=(200.0, 1223.0, 1.0))
    axis = conditions.axis()
    within = edges_within(axis[0], axis[-1])
    for dose in doses:
        recorded = replace(conditions, counts=dose)
        counts, drawn = simulate_eels(formulas, conditions=recorded, random_state=0, return_conditions=True)
        names = ["beam_energy", "convergence_angle", "collection_angle"]
        known = drawn[names].clip(lower=1e-3).to_dict("records")
        cells = [Spectrum(c, axis, **k) for c, k in zip(counts, known, strict=True)]
        model = EELSComposition(n_jobs=n_jobs).fit(cells[:1])
        model.transform(cells[:64])
        start = time.perf_counter()
        found = np.nan_to_num(model.transform(cells))
        rate = n / (time.perf_counter() - start)
        expected = (true >= LEAST) & within
        named, wrong = (found > 0) & expected, (found > 0) & (true == 0)
        shares = np.where(found > 0, true, 0)
        shares = shares / shares.sum(1, keepdims=True).clip(1e-9)
        row = {
            "electrons": dose,
            "recall": named.sum() / expected.sum(),
            "precision": named.sum() / (named.sum() + wrong.sum()),
            "error": 100 * np.abs(found - shares)[named].mean(),
            "spectra_per_second": rate,
        }
        print({name: round(float(value), 3) for name, value in row.items()}, flush=True)


def job(n, n_folds, doses):
    """Structures from rings and chemistry: the formula with errors, or spectra of several doses."""
    crystals = load_amcsd()
    crystals = crystals[np.sort(np.random.RandomState(0).choice(len(crystals), n, replace=False))]
    cv = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    profile = RadialProfile(n_bins=512, cache=True)
    tables = []
    for dose in (None, *doses):
        source = "formula" if dose is None else "eds"
        X, y, groups = make_specimens(
            crystals,
            modalities=("rings", source),
            conditions={"rings": RingConditions(image_size=128)},
            electrons=1e5,
            counts=dose,
            random_state=0,
        )
        first = "passthrough" if dose is None else EDSComposition(cache=True)

        def chemistry(step, source=source, first=first):
            return source, step if isinstance(first, str) else make_pipeline(first, step)

        features = make_features(
            diffraction=("rings", profile),
            fractions=chemistry(ElementFractions()),
            presence=chemistry(ElementPresence()),
            ranked=chemistry(RankedElements()),
        )
        matminer = make_features(statistics=chemistry(CompositionStatistics()))
        models = {
            "fusion": make_pipeline(features, FusionClassifier(hierarchy="space_group", random_state=0)),
            "boosted matminer": make_pipeline(
                matminer, make_baseline("hist_gradient_boosting", random_state=0)
            ),
        }
        table = compare(models, X, y, groups=groups, cv=cv, chemistry_only=True)
        table.insert(0, "chemistry", "formula" if dose is None else f"{dose:.0e} counts")
        tables.append(table)
        pd.concat(tables).to_csv(RESULTS / "spectra_job.csv", index=False, float_format="%.5f")
        columns = ["crystal_system_accuracy", "space_group_accuracy", "space_group_top5"]
        print(table.groupby(["chemistry", "model"])[columns].mean().round(3).to_string(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["measured", "simulated", "scan", "losses", "map", "job"])
    parser.add_argument("folders", nargs="*", help="of measured spectra")
    parser.add_argument("--n", type=int, help="compositions (2000), crystals (9273), side of the map (256)")
    parser.add_argument("--n-folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="spectra of each compound in the scan")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--doses", type=float, nargs="+", default=[1e3, 1e4, 1e5])
    options = parser.parse_args()
    if options.what == "measured":
        measured(options.folders)
    elif options.what == "simulated":
        simulated(options.n or 2000, options.doses, options.n_jobs)
    elif options.what == "scan":
        scan(options.repeats, options.n_jobs)
    elif options.what == "losses":
        losses(options.n or 500, [1e6, 1e7, 1e8, 1e9], options.n_jobs)
    elif options.what == "map":
        table = _composition_maps.run(options.n or 256, (50, 500), options.n_jobs)
        table.to_csv(RESULTS / "composition_maps.csv", index=False, float_format="%.4f")
    else:
        job(options.n or len(load_amcsd()), options.n_folds, options.doses)


if __name__ == "__main__":
    main()
