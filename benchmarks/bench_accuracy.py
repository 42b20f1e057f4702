"""How often crystal system and space group are named right, beside published ways to do it.

Three protocols, each prints one table; ``--save`` writes every fold to ``benchmarks/results``:

``python benchmarks/bench_accuracy.py a``
    Simulated minerals (AMCSD), five folds that keep compounds apart: ring images under harsh conditions with
    100,000 electrons, and the formula measured with error. ``--modality powder`` takes powder patterns,
    ``--random-split`` lets compounds stand on both sides, as most publications do.

``python benchmarks/bench_accuracy.py b FOLDER --models FILE... [--peers]``
    Measured patterns, which no weights were trained on: FOLDER holds ``minerals.npz``, ``powders`` and
    ``thin_films``. The files are fitted pipelines (joblib) that take columns ``powder`` and ``formula``.
    ``--peers`` trains the published ways on simulated minerals in the same run. Says why patterns are missed
    and draws examples (``misses.png``).

``python benchmarks/bench_accuracy.py c FOLDER --cache FILE.npz``
    Structures of the Materials Project (tables ``mp_*.csv.gz`` in FOLDER) whose compounds are in no training
    part; trained on all others and on AMCSD. Otherwise as the first.

``--quick`` takes a few hundred structures, two folds and three epochs: a minute or two. Folds are written as
they are finished and skipped when the same command runs again (folder ``--work``; give another one after a
change of the models). In full on two free cores the first takes about three hours, most of it for the
convolutional net (a fold: that 20 minutes, the fused network with its parts 10, all others 8; simulation 5
once), so ``--folds-run 1`` or ``--only fusion search extra`` are much shorter; the second takes half an hour
with ``--peers``, three minutes without; the third about twelve hours.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from _materials_project import load_materials_project
from _protocols import (
    Job,
    Reduced,
    choose,
    chosen_of,
    harsh_conditions,
    make_models,
    make_splits,
    reducer,
    summarise,
    without_faults,
)

from xtalsk import CrystalSet, load_amcsd, paired_test
from xtalsk.diffraction.indexing._functional import figure_names

RESULTS = Path(__file__).parent / "results"


def folder_of(options, protocol, n):
    """Folder of a run, named by all that its results depend on."""
    parts = [protocol, options.modality, n, f"r{options.n_replicas}", f"{options.n_folds}folds"]
    parts += [options.size] * (options.modality == "rings") + ["random"] * options.random_split
    parts += [f"t{options.n_trees}"] * (options.n_trees != 300)
    parts += [f"e{options.epochs}"] * (options.epochs is not None)
    parts += [f"p{options.park_epochs}"] * (options.park_epochs is not None)
    return options.work / "_".join(str(part) for part in parts)


def cross_validate(options, protocol, crystals, only=None):
    """Simulate, run all models on all folds and print the table.

    Parameters
    ----------
    only : ndarray of str or None
        Test on the crystals of these ids only.
    """
    crystals = without_faults(crystals)
    job = Job(folder_of(options, protocol, len(crystals)), options.modality)
    conditions = harsh_conditions(options.modality, options.size)
    X, y, groups, rows = job.specimens(
        crystals, conditions, n_replicas=options.n_replicas, random_state=0, n_jobs=options.n_jobs
    )
    tested = None if only is None else np.isin(crystals.ids.astype(str), only)[rows]
    splits = make_splits(
        y, groups, rows, n_folds=options.n_folds, folds_run=options.folds_run,
        random_split=options.random_split, only=tested,
    )  # fmt: skip
    split = "at random" if options.random_split else "by compound"
    print(f"{len(X)} specimens, {len(set(y))} space groups, {len(set(groups))} compounds; folds made {split}")
    names = tuple(reducer(options.modality).fit([None]).get_feature_names_out())
    models = make_models(
        options.modality,
        Reduced(names),
        Reduced(tuple(figure_names()), first=len(names)),
        epochs=options.epochs,
        park_epochs=options.park_epochs,
        n_trees=options.n_trees,
        n_jobs=options.n_jobs,
    )
    models = chosen_of(models, options.only)
    table = job.run(models, X, y, None if options.random_split else groups, splits)
    print(summarise(table).to_string())
    print_tests(table)
    if len(splits) < options.n_folds:
        print(f"only {len(splits)} of {options.n_folds} folds were run: there is no spread to judge by")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        name = f"accuracy_{protocol}_{options.modality}" + "_random" * options.random_split
        name += f"_n{len(crystals)}" * (options.n is not None)
        table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.5f")
    return table


def print_tests(table, model="fusion", metric="space_group_accuracy"):
    """Print how sure it is that the fused network differs from each other model; needs two folds."""
    others = [name for name in table["model"].unique() if name != model]
    if model not in set(table["model"]) or table["fold"].nunique() < 2:
        return
    for other in others:
        test = paired_test(table, model, other, metric)
        low, high = (100 * end for end in test.confidence_interval)
        print(
            f"{model} less {other}: {100 * test.difference:+.1f} points of space group "
            f"({low:+.1f} to {high:+.1f}, p = {test.pvalue:.2g})"
        )


def protocol_a(options):
    cross_validate(options, "a", choose(load_amcsd(), options.n))


def protocol_b(options):
    from _measured import run

    run(options, RESULTS)


def protocol_c(options):
    found = load_materials_project(options.folder, cache=options.cache, n_jobs=options.n_jobs, verbose=1)
    found = choose(found, options.n_mp if options.n_mp is not None else options.n)
    print(f"tested on {found!r}, {len(set(found.formulas))} formulas")
    crystals = CrystalSet.concatenate([choose(load_amcsd(), options.n), found])
    cross_validate(options, "c", crystals, only=found.ids.astype(str))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="protocol", required=True)
    for name in ("a", "b", "c"):
        command = commands.add_parser(name)
        add = command.add_argument
        if name != "a":
            add("folder", type=Path)
        add("--n", type=int, help="take only so many crystals of AMCSD")
        add("--n-replicas", type=int, default=1, help="specimens of each crystal to train on")
        add("--epochs", type=int, help="of the fused network")
        add("--park-epochs", type=int, help="of the convolutional net")
        add("--n-trees", type=int, default=300)
        add("--only", nargs="+", metavar="NAME", help="models whose names begin so; all by default")
        add("--n-jobs", type=int, default=2)
        add("--work", type=Path, default=Path(tempfile.gettempdir()) / "xtalsk_bench_accuracy")
        add("--quick", action="store_true", help="a small part of all, to see that it works")
        add("--save", action="store_true", help=f"write the tables to {RESULTS}")
        if name == "b":
            add("--models", type=Path, nargs="+", default=[], help="fitted pipelines (joblib)")
            add("--peers", action="store_true", help="train the published ways, too")
            add("--explain", help="the model whose misses are explained; the first by default")
            continue
        add("--modality", choices=("rings", "powder"), default="rings")
        add("--size", type=int, default=256, help="rows and columns of an image")
        add("--n-folds", type=int, default=5)
        add("--folds-run", type=int, help="run the first folds only")
        add("--random-split", action="store_true", help="compounds may be on both sides")
        if name == "c":
            add("--cache", type=Path, help="where to keep the structures, .npz")
            add("--n-mp", type=int, help="take only so many crystals of the Materials Project")
    options = parser.parse_args(arguments)
    if options.quick:
        options.n = options.n or 400
        options.epochs, options.park_epochs = options.epochs or 3, options.park_epochs or 3
        options.n_trees, options.size, options.n_folds = 50, 128, 2
    return options


def main():
    options = parse()
    {"a": protocol_a, "b": protocol_b, "c": protocol_c}[options.protocol](options)


if __name__ == "__main__":
    main()
