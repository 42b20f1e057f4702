"""Accuracy of crystal system and space group, compared with published methods.

There are three protocols. Each prints one table; ``--save`` writes every fold to ``benchmarks/results``:

``python benchmarks/bench_accuracy.py a``
    Simulated minerals (AMCSD), five folds that keep compounds apart: ring images under harsh conditions with
    100,000 electrons, and compositions as in a microscope, with film and grid. ``--chemistry typical`` uses
    formulas with errors of measurement, ``--modality powder`` powder patterns (with these formulas).
    ``--random-split`` allows a compound in both parts of a split, as most publications do.

``python benchmarks/bench_accuracy.py b FOLDER --models FILE... [--peers]``
    Measured patterns, on which no weights were trained: FOLDER holds ``minerals.npz``, ``powders`` and
    ``thin_films``. FILE is a file of `xtalsk.save`, or a name of `load_pretrained`, of a pipeline for the
    columns ``powder`` and ``formula``.
    ``--peers`` trains the published methods on simulated minerals in the same run. McNemar's test compares
    each model with the first one. The command also prints the reasons for wrong space groups and draws
    examples (``misses.png``).

``python benchmarks/bench_accuracy.py c FOLDER --cache FILE.npz``
    Structures of the Materials Project (tables ``mp_*.csv.gz`` in FOLDER) whose compounds are in no training
    part. The models are trained on all others and on AMCSD. Patterns and formulas have typical errors.
    ``--conditions harsh`` takes harsh patterns, ``--modality powder`` powder patterns.
    "Fusion" is `PrototypeBlend` of a network, which also learns from `substitute_elements` of the training
    crystals, and of the training crystals as prototypes. McNemar's test compares it with each other model.

In protocol a, "fusion" is the weighted geometric mean of a network, search-match in the training crystals and
trees on chemistry. It is repeated with diffraction only (network, search-match) and chemistry only (network,
trees). It learns from ``--n-replicas`` specimens of each crystal. The others learn from ``--peer-replicas``
of them, because their time and memory grow faster. Search-match needs none.

``--quick`` uses a few hundred structures, two folds and three epochs, and takes a minute or two. Features and
each finished fold are written to the folder ``--work``, and the same command continues there; use another
folder after a change of the models.

Protocol a renders each replica of all minerals in two minutes of one core. One fold then takes a quarter of
an hour for fusion with its two parts (ten epochs, eight replicas), ten minutes for the convolutional network
and five for all others. Protocol b takes half an hour with ``--peers`` and three minutes without. Protocol c
takes one to two hours of one core for each fold and modality.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from _materials_project import load_materials_project
from _protocol_models import chosen_of, make_models, protocol_blocks
from _protocols import Job, choose, harsh_conditions, make_splits, summarise, without_faults

from xtalsk import load_amcsd, make_library, paired_test

RESULTS = Path(__file__).parent / "results"


def specimens_folder(options, protocol, n):
    """Return the folder of the specimens; its name holds every option that changes them."""
    parts = [protocol, options.modality, options.chemistry, n, options.size]
    return options.work / "_".join(str(part) for part in parts[: 5 if options.modality == "rings" else 4])


def results_folder(options):
    """Return the name of the folder of the results; it holds every option that changes them."""
    parts = [f"{options.n_folds}folds", f"r{options.n_replicas}", f"peers{options.peer_replicas}"]
    parts += ["random"] * options.random_split
    parts += [f"t{options.n_trees}"] * (options.n_trees != 300)
    parts += [f"e{options.epochs}"] * (options.epochs is not None)
    parts += [f"p{options.park_epochs}"] * (options.park_epochs is not None)
    return "_".join(parts)


def cross_validate(options, protocol, crystals):
    """Simulate, run all models on all folds and print the table."""
    crystals = without_faults(crystals)
    job = Job(specimens_folder(options, protocol, len(crystals)))
    features = protocol_blocks(options.modality, options.chemistry)
    conditions = {options.modality: harsh_conditions(options.modality, options.size)}
    conditions["formula"] = options.chemistry
    X, y, groups = job.specimens(
        crystals, features, conditions, n_replicas=options.n_replicas, n_jobs=options.n_jobs
    )
    splits = make_splits(
        y,
        groups,
        X.index,
        n_folds=options.n_folds,
        folds_run=options.folds_run,
        random_split=options.random_split,
    )
    split = "at random" if options.random_split else "by compound"
    print(f"{len(X)} specimens, {len(set(y))} space groups, {len(set(groups))} compounds; folds {split}")
    entries, _, _ = make_library(crystals, features, random_state=0)
    fused, others = make_models(
        options.modality,
        features,
        entries,
        epochs=options.epochs,
        park_epochs=options.park_epochs,
        n_trees=options.n_trees,
        n_jobs=options.n_jobs,
    )
    last = options.peer_replicas * len(crystals)
    few = {fold: (train[train < last], test) for fold, (train, test) in splits.items()}
    chosen = chosen_of({**fused, **others}, options.only)
    scores = []
    for part, used in ((fused, splits), (others, few)):
        models = {name: model for name, model in chosen.items() if name in part}
        if models:
            compounds = None if options.random_split else groups
            scores.append(job.run(models, X, y, compounds, used, results=results_folder(options)))
    table = pd.concat(scores).drop_duplicates(["model", "fold"]).reset_index(drop=True)
    report(options, protocol, table, len(crystals))
    return table


def report(options, protocol, table, n):
    """Print the table and the paired tests of models trained on ``n`` crystals, and save every fold."""
    print(summarise(table).to_string())
    print_tests(table)
    n_run = table["fold"].nunique()
    if n_run < options.n_folds:
        print(f"only {n_run} of {options.n_folds} folds were run: the spread is unknown")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        name = f"accuracy_{protocol}_{options.modality}" + "_random" * options.random_split
        name += f"_n{n}" * (options.n is not None)
        table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.5f")


def print_tests(table, model="fusion", metric="space_group_accuracy"):
    """Print the paired test of the fused network against each other model; it needs two folds."""
    others = [name for name in table["model"].unique() if name != model]
    if model not in set(table["model"]) or table["fold"].nunique() < 2:
        return
    for other in others:
        test = paired_test(table, model, other, metric)
        low, high = (100 * end for end in test.confidence_interval)
        print(
            f"{model} minus {other}: {100 * test.difference:+.1f} points of space group "
            f"({low:+.1f} to {high:+.1f}, p = {test.pvalue:.2g})"
        )


def protocol_a(options):
    cross_validate(options, "a", choose(load_amcsd(), options.n))


def protocol_b(options):
    from _measured import run

    run(options, RESULTS)


def protocol_c(options):
    computed = load_materials_project(options.folder, cache=options.cache, n_jobs=options.n_jobs, verbose=1)
    computed = choose(computed, options.n_mp if options.n_mp is not None else options.n)
    print(f"tested on {computed!r}, {len(set(computed.formulas))} formulas")
    from _computed import run

    minerals = choose(load_amcsd(), options.n)
    n = len(minerals) + len(computed)
    folder = specimens_folder(options, f"c_{options.conditions}", n)
    table = run(options, computed, minerals, folder)
    report(options, "c", table, n)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="protocol", required=True)
    for name in ("a", "b", "c"):
        command = commands.add_parser(name)
        add = command.add_argument
        if name != "a":
            add("folder", type=Path)
        add("--n", type=int, help="number of crystals of AMCSD; all by default")
        add(
            "--n-replicas",
            type=int,
            default={"a": 8, "b": 1, "c": 3}[name],
            help="training specimens of each crystal",
        )
        add("--epochs", type=int, help="epochs of the fused network")
        add("--n-trees", type=int, default=300)
        if name == "c":
            command.set_defaults(park_epochs=None, random_split=False)
        else:
            add("--park-epochs", type=int, help="epochs of the convolutional network")
            add("--only", nargs="+", metavar="NAME", help="beginnings of the names of models; all by default")
        add("--n-jobs", type=int, default=2)
        add("--work", type=Path, default=Path(tempfile.gettempdir()) / "xtalsk_bench_accuracy")
        add("--quick", action="store_true", help="a small part, to test that it works")
        add("--save", action="store_true", help=f"write the tables to {RESULTS}")
        if name == "b":
            add("--models", type=Path, nargs="+", default=[], help="names or files of fitted pipelines")
            add("--peers", action="store_true", help="also train the published methods")
            add("--explain", help="model whose errors are explained; the first by default")
            continue
        add("--modality", choices=("rings", "powder"), default="rings")
        add("--chemistry", choices=("typical", "microscope"), help="conditions of compositions, see below")
        add("--peer-replicas", type=int, default=2, help="the same for the published methods")
        add("--size", type=int, default=256, help="rows and columns of an image")
        add("--n-folds", type=int, default=5)
        add("--folds-run", type=int, help="number of folds to run; all by default")
        if name == "a":
            add("--random-split", action="store_true", help="allow a compound in both parts of a split")
        else:
            add("--conditions", choices=("typical", "harsh"), default="typical", help="of the patterns")
            add("--cache", type=Path, help="file of the structures, .npz")
            add("--n-mp", type=int, help="number of Materials Project crystals")
    options = parser.parse_args(arguments)
    if options.protocol != "b" and options.chemistry is None:
        is_microscope = options.protocol == "a" and options.modality == "rings"
        options.chemistry = "microscope" if is_microscope else "typical"
    if options.quick:
        options.n_replicas = min(options.n_replicas, 2)
        options.n = options.n or 400
        options.epochs, options.park_epochs = options.epochs or 3, options.park_epochs or 3
        options.n_trees, options.size, options.n_folds = 50, 128, 2
    return options


def main():
    options = parse()
    {"a": protocol_a, "b": protocol_b, "c": protocol_c}[options.protocol](options)


if __name__ == "__main__":
    main()
