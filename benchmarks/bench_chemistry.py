"""Search-match by chemistry alone: the rank of the true compound among all of AMCSD.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_chemistry.py``. Compositions of ``--n`` crystals are simulated
in four ways: exact (without hydrogen), typical, X50C30Cu20 (half of the atoms are those of the crystal, the
others carbon film and copper grid), and as in a microscope. `LibraryMatch` compares them with the library as
they are (``stray=()``) and with its default, under which elements of film and grid may be in excess.
Compositions without any detected element are left out.
"""

import argparse
import time

import numpy as np
import pandas as pd

from xtalsk import (
    ElementFractions,
    ElementPresence,
    FormulaConditions,
    LibraryMatch,
    compound_groups,
    load_amcsd,
    make_features,
    make_library,
    simulate_formulas,
)
from xtalsk.crystals._faults import find_faults

CONDITIONS = {
    "exact": FormulaConditions(relative_error=0.0, absolute_error=0.0, detection_limit=0.0),
    "typical": FormulaConditions.typical(),
    "X50C30Cu20": FormulaConditions(
        film=0.375,
        grid=2 / 7,
        grid_elements=(("Cu", 1.0),),
        relative_error=0.0,
        absolute_error=0.0,
        detection_limit=0.0,
    ),
    "microscope": FormulaConditions.microscope(),
}
BLOCKS = {
    "fractions": {"fractions": ("formula", ElementFractions())},
    "both": {"fractions": ("formula", ElementFractions()), "presence": ("formula", ElementPresence())},
}
N_BEST = 500


def ranks(match, X, compounds):
    """Return the rank of the true compound of each row, inf beyond the best entries."""
    table = match.candidates(X, n=N_BEST).drop_duplicates(["row", "label"])
    table["place"] = table.groupby("row").cumcount() + 1
    own = table[table["label"].to_numpy() == compounds[table["row"].to_numpy()]]
    return own.set_index("row")["place"].reindex(range(len(X)), fill_value=np.inf).to_numpy(dtype=float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=800, help="crystals")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    crystals = load_amcsd()
    crystals = crystals[np.setdiff1d(np.arange(len(crystals)), list(find_faults(crystals)))]
    compounds = compound_groups(crystals)
    rows = np.random.RandomState(options.seed).choice(len(crystals), options.n, replace=False)
    for blocks, transformers in BLOCKS.items():
        features = make_features(**transformers)
        library, _, entries = make_library(crystals, features)
        table = []
        for name, conditions in CONDITIONS.items():
            cells = pd.Series(simulate_formulas(crystals, rows, conditions, random_state=options.seed))
            X = features.transform(pd.DataFrame({"formula": cells[cells.notna()]}))
            truth = compounds[rows[cells.notna()]]
            for stray in ((), LibraryMatch().stray):
                match = LibraryMatch(stray=stray, n_best=N_BEST).fit(library, compounds, entries)
                match.predict_proba(X[:2])
                start = time.process_time()
                match.predict_proba(X)
                seconds = (time.process_time() - start) / len(X)
                rank = ranks(match, X, truth)
                table.append(
                    {
                        "composition": name,
                        "stray": "default" if stray else "none",
                        **{f"first {k} %": 100 * np.mean(rank <= k) for k in (1, 5, 20)},
                        "mean 1/rank %": 100 * np.mean(1 / rank),
                        "ms": 1e3 * seconds,
                    }
                )
        print(f"\n{blocks}, {len(library)} entries, {options.n} compositions")
        print(pd.DataFrame(table).round(2).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
