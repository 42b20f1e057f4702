"""Simulated X-ray spectra of every element and the usual compounds: elements found, missed and false."""

from dataclasses import replace

import numpy as np
import pandas as pd

from xtalsk import EDSComposition, EDSConditions, Spectrum, simulate_eds
from xtalsk.utils._formula import SYMBOLS

OXIDES = (
    "Li2O BeO B2O3 Na2O MgO Al2O3 SiO2 P2O5 K2O CaO Sc2O3 TiO2 V2O5 Cr2O3 MnO2 Fe2O3 CoO NiO CuO ZnO Ga2O3 "
    "GeO2 As2O3 SeO2 Rb2O SrO Y2O3 ZrO2 Nb2O5 MoO3 RuO2 Rh2O3 PdO Ag2O CdO In2O3 SnO2 Sb2O3 TeO2 Cs2O BaO "
    "La2O3 CeO2 Pr2O3 Nd2O3 Sm2O3 Eu2O3 Gd2O3 Tb2O3 Dy2O3 Ho2O3 Er2O3 Tm2O3 Yb2O3 Lu2O3 HfO2 Ta2O5 WO3 ReO3 "
    "OsO2 IrO2 PtO2 HgO Tl2O3 PbO Bi2O3 ThO2 UO2 VO FeO MnO TiO Cu2O Fe3O4"
)
NITRIDES = "BN Mg3N2 AlN Si3N4 ScN TiN VN CrN Fe4N Zn3N2 GaN YN ZrN NbN InN LaN HfN TaN WN ThN UN"
CARBIDES = "B4C Al4C3 SiC TiC VC Cr3C2 Fe3C ZrC NbC Mo2C HfC TaC WC UC"
SULPHIDES = (
    "Na2S MgS Al2S3 K2S CaS TiS2 MnS FeS FeS2 CoS NiS CuS Cu2S ZnS GaS As2S3 SrS Y2S3 ZrS2 NbS2 MoS2 Ag2S "
    "CdS In2S3 SnS Sb2S3 BaS La2S3 TaS2 WS2 PtS HgS PbS Bi2S3"
)
HALIDES = (
    "LiF NaF MgF2 AlF3 KF CaF2 MnF2 FeF3 SrF2 YF3 CdF2 BaF2 LaF3 CeF3 PbF2 UF4 NaCl MgCl2 AlCl3 KCl CaCl2 "
    "MnCl2 FeCl3 CuCl RbCl SrCl2 AgCl CdCl2 CsCl BaCl2 LaCl3 HgCl2 PbCl2 NaBr AlBr3 KBr AgBr CsBr PbBr2 NaI "
    "KI AgI CdI2 CsI BaI2 PbI2"
)
FAMILIES = {
    "element": " ".join(SYMBOLS[4:92]),
    "oxide": OXIDES,
    "nitride": NITRIDES,
    "carbide": CARBIDES,
    "sulphide": SULPHIDES,
    "halide": HALIDES,
}
LARGEST_SHIFT = 60.0  # eV
RECORDED = {"carbon": 0.0, "silicon": 0.0, "copper": 0.0, "pile_up": (0.0, 0.02), "energy_shift": 0.0}
SETTINGS = {
    "film, 200 keV": replace(EDSConditions(), takeoff_angle=20.0, **RECORDED),
    "bulk, 15 keV": replace(EDSConditions.scanning(), beam_energy=15.0, takeoff_angle=35.0, **RECORDED),
    "bulk, 20 keV": replace(EDSConditions.scanning(), beam_energy=20.0, takeoff_angle=35.0, **RECORDED),
}


VISIBLE = np.arange(1, len(SYMBOLS) + 1) >= 6  # carbon and heavier elements


def scan(judge, vector, *, doses=(1e4, 1e5, 1e6), n_repeats=1, n_jobs=2, seed=0):
    """Analyse all compounds under all settings.

    Parameters
    ----------
    judge, vector : callable
        See bench_spectra.py: compare fractions with the true ones, and make the true ones.
    doses : sequence of float
        Counts in a spectrum.
    n_repeats : int
        Spectra of each compound, setting and dose, each with its own pile-up (0 to 2%) and shift of the
        energy axis (-60 to 60 eV). The shift is applied to the axis of the simulated spectrum, so that lines,
        background and sum peaks shift together.
    n_jobs : int
    seed : int

    Returns
    -------
    DataFrame
        One row a spectrum: family, formula, setting, counts, the drawn pile-up and shift, and what `judge`
        returns.
        An element that the analysis calls not measurable (NaN) counts neither as found nor as missed; the
        column ``hidden`` lists these. In a row that is NaN throughout, all elements count as missed.
    """
    from pymatgen.core import Composition

    names = [(family, formula) for family, formulas in FAMILIES.items() for formula in formulas.split()]
    true = np.array([vector(Composition(formula).get_el_amt_dict()) for _, formula in names])
    rows = np.repeat(np.arange(len(names)), n_repeats)
    records = []
    for setting, conditions in SETTINGS.items():
        for counts in doses:
            recorded = replace(conditions, counts=counts)
            spectra, conditions_used = simulate_eds(
                [formula for _, formula in names], rows, recorded, random_state=seed, return_conditions=True
            )
            axis = recorded.axis()
            shifts = np.random.default_rng([seed, round(counts), len(records)]).uniform(-1, 1, len(rows))
            shifts *= LARGEST_SHIFT
            angles = {
                "beam_energy": float(recorded.beam_energy),
                "takeoff_angle": float(recorded.takeoff_angle),
            }
            cells = [
                Spectrum(spectrum, axis - shift, **angles)
                for spectrum, shift in zip(spectra, shifts, strict=True)
            ]
            fractions = EDSComposition(n_jobs=n_jobs).fit_transform(cells)
            for row, found, used, shift in zip(
                rows, fractions, conditions_used.itertuples(), shifts, strict=True
            ):
                hidden = np.isnan(found) & (true[row] > 0) & ~np.isnan(found).all()
                judged = judge(found, np.where(hidden, 0, true[row]), set(np.array(SYMBOLS)[hidden]))
                listed = {SYMBOLS[z]: round(float(found[z]), 3) for z in np.flatnonzero(found > 0)}
                records.append(
                    {
                        "family": names[row][0],
                        "formula": names[row][1],
                        "setting": setting,
                        "counts": counts,
                        "pile_up": round(used.pile_up, 4),
                        "energy_shift": round(shift, 1),
                        **judged,
                        "hidden": " ".join(np.array(SYMBOLS)[hidden & VISIBLE]),
                        "found": listed,
                    }
                )
    return pd.DataFrame(records)


def report(table):
    """Print recall and false elements for each setting, dose and family, and the worst spectra."""
    for columns in (["setting", "counts"], ["family"]):
        groups = table.groupby(columns, sort=False)
        summary = groups.agg(spectra=("expected", "size"), false=("n_false", "mean"), error=("error", "mean"))
        summary.insert(1, "recall", 1 - groups.n_missed.sum() / groups.expected.sum())
        print(summary.round(4).to_string(), "\n")
    wrong = table[(table.n_false > 0) | (table.n_missed > 0)]
    shown = ["formula", "setting", "counts", "pile_up", "energy_shift", "missed", "false", "found"]
    print(wrong[shown].to_string(index=False, max_rows=80))
    print(f"\nnot measurable: {(table.hidden != '').sum()} spectra, {dict(table.hidden.value_counts()[1:])}")
    recall = 1 - table.n_missed.sum() / table.expected.sum()
    print(f"\n{len(table)} spectra: recall {recall:.4f} (aim 0.998)", end=", ")
    print(f"false {table.n_false.mean():.4f} (aim 0.005)")
