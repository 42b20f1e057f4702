"""Train the published pipelines on simulated measurements.

``python benchmarks/train.py --modality powder --chemistry --out powder.xtalsk``
trains on the GPU if there is one. It writes FILE.checkpoint every few minutes; the same command resumes an
interrupted training. A JSON file beside the model holds the number of patterns, the time and the conditions.
The same command with ``--pack`` then puts the model into the package, where `load_pretrained` finds it. Its
card is benchmarks/models/powder.json with these numbers; change the scores there.
Measured patterns are not used. ``--watch FILE.npz`` prints the accuracy on a file of measured patterns (see
bench_measured.py) at each checkpoint.

The crystals are those of AMCSD and `load_experimental`, with ``--materials-project FOLDER`` those of the
Materials Project, all of these with other elements (`substitute_elements`), and random crystals with the same
shares of space groups. With ``--chemistry``, formulas of
`load_compounds` are specimens of their own, unless compounds are kept for tests.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from _materials_project import load_materials_project
from _training import (
    POWDER_GRID,
    ZONE_SHARES,
    crystal_weights,
    formula_conditions,
    make_blocks,
    powder_conditions,
    random_space_groups,
    ring_conditions,
    spot_conditions,
    system_shares,
    without_fold,
)
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import xtalsk
from xtalsk import (
    CompoundBlend,
    CrystalSet,
    FusionClassifier,
    LibraryBlend,
    LibraryMatch,
    PrototypeBlend,
    PrototypeMatch,
    SpecimenColumns,
    load_amcsd,
    load_compounds,
    load_experimental,
    load_pretrained,
    make_library,
    make_random_crystals,
    substitute_elements,
)
from xtalsk.metrics import level_scores
from xtalsk.pretrained import _load as pretrained
from xtalsk.streaming import SpecimenStream, fit_stream, read_checkpoint
from xtalsk.utils._fingerprint import library_versions

SHARES = {
    "amcsd": 0.22,
    "experimental": 0.18,
    "materials_project": 0.16,
    "substituted": 0.36,
    "random": 0.08,
}
"""Share of the specimens from each source, before crystal systems get their shares. Before there were
substituted crystals, AMCSD had 0.33, experimental structures 0.24, the Materials Project 0.25 and random ones
0.18. The mixture of the first, third and last was decided on the 301 measured minerals of protocol B (see
README.md), how is not recorded. The shares of the experimental and the substituted ones are set by eye; see
"Crystals with substituted elements" in README.md."""

COMPOUND_SHARE = 0.08
"""Share of specimens that are formulas of `load_compounds`, besides those of the crystals; set by eye. With
all of them, a network on formulas named 2.5 points more of the space groups of unseen compounds of the
Materials Project (0.345, 0.320 without; one fold, 1,000 crystals, script not kept)."""

MODEL = {
    "hierarchy": "space_group",
    "n_filters": 32,
    "n_residual": 2,
    "embedding_size": 192,
    "hidden_size": 384,
    "modality_dropout": 0.1,
    "dropout": 0.1,
    "label_smoothing": 0.05,
    "batch_size": 256,
    "learning_rate": 3e-3,
    "weight_averaging": 0.999,
    "precision": "bfloat16",
    "all_missing": "missing",
    "augment": {
        "noise": 0.02,
        "background": 0.1,
        "stretch": 0.02,
        "jitter": 0.15,
        "shift": 0.5,
        "broaden": 1.0,
        "impurity": 0.1,
        "masks": 0.1,
    },
    "random_state": 0,
}
"""Parameters of the network. The choice is not recorded. bench_ablation.py shows what two residual blocks and
the kinds of augmentation are worth."""

RING_MODEL = MODEL | {"profile_vote": False}
"""Parameters of the network for rings. The vote of its two diffraction blocks cost 1.6 points of the space
groups of 2,439 simulated images without composition (0.270 and 0.286), and of 12 measured images one first
answer."""

SPOT_MODEL = MODEL | {
    "n_filters": 24,
    "n_residual": 1,
    "profile_vote": False,
    "augment": {"noise": 0.02, "stretch": 0.01, "jitter": 0.15, "shift": 0.5, "broaden": 0.5, "masks": 0.1},
}
"""Parameters of the network for spot patterns; set by eye, except the vote. Without it, a network two thirds
through its training named 7 points more of crystal systems and 4 more of space groups from eight patterns,
and 9 and 5 more from one with its formula (768 specimens of the held-out fold). Profile and polar image of
one zone say too little to have two votes of three."""

BLEND = {
    "powder": {"max_weight": 0.98, "midpoint": 0.6, "width": 0.12, "agreement": 0.25},
    "rings": {},
}
"""Parameters of `LibraryBlend`. Those of powders have, of 216 sets, the best sum of the mean log-likelihood
on the 301 measured minerals of protocol B and a fifth of that on 586 simulated powders of compounds that the
library lacks, with this network and this library; see "Hard pairs" in README.md. For rings, an agreement of
0.25 made no difference on 12 measured images."""

SURE = 0.95
"""Rows of which the network is so sure are not compared with prototypes, to save time. Set by eye."""

N_LABELS = 20_000  # crystals drawn to count the shares of the space groups in the training

CARDS = Path(__file__).parent / "models"
MAX_BYTES = 20e6  # of a model in the package

WATCHED = ("crystal_system_accuracy", "space_group_accuracy", "space_group_top5")


def load_crystals(folder, cache, n_random, systems, fold=None, experimental=None, n_substituted=0):
    """Return the crystals of all sources, the weight of each crystal, and the number of each source.

    ``systems`` are the shares of the crystal systems. With ``fold``, compounds of that fold of AMCSD are in
    no source; see `_training.without_fold`.
    """
    sets = {"amcsd": load_amcsd(), "experimental": load_experimental()}
    if experimental is not None:
        sets["experimental"] = CrystalSet.load(experimental)
    if folder is not None:
        sets["materials_project"] = load_materials_project(folder, cache=cache)
    if fold is not None:
        sets = without_fold(sets, fold)
    published = list(sets.values())
    known = CrystalSet.concatenate(published)
    if n_substituted:
        weights = crystal_weights(published, [SHARES[name] for name in sets], systems)
        rows = np.sort(np.random.default_rng(0).choice(len(known), n_substituted, p=weights))
        sets["substituted"] = substitute_elements(known[rows], random_state=0)
    if n_random:
        numbers = random_space_groups(n_random, published, np.random.default_rng(0), systems)
        sets["random"] = make_random_crystals(numbers, reference=known, random_state=0, verbose=1)
    weights = crystal_weights(list(sets.values()), [SHARES[name] for name in sets], systems)
    counts = {name: len(crystals) for name, crystals in sets.items()}
    return CrystalSet.concatenate(list(sets.values())), weights, counts


def network_parameters(options):
    """Return the parameters of the network."""
    parameters = {"rings": RING_MODEL, "spots": SPOT_MODEL}.get(options.modality, MODEL)
    rate = {} if options.learning_rate is None else {"learning_rate": options.learning_rate}
    return parameters | rate


def network_of(name):
    """Return the network in a pretrained model or in a file."""
    pipeline = xtalsk.load(name) if name.endswith(".xtalsk") else load_pretrained(name)
    network = pipeline[-1]
    while hasattr(network, "classifier_"):  # of a blend, frozen
        network = getattr(network.classifier_, "estimator", network.classifier_)
    return network


def conditions_of(modality, chemistry):
    """Return the conditions of a modality, and with chemistry those of formulas, and their shares."""
    makers = {"powder": powder_conditions, "rings": ring_conditions, "spots": spot_conditions}
    mixtures = {modality: makers[modality]()}
    if chemistry:
        mixtures["formula"] = formula_conditions(modality)
    conditions = {column: members for column, (members, _) in mixtures.items()}
    return conditions, {column: shares for column, (_, shares) in mixtures.items()}


def make_stream(modality, chemistry, crystals, weights, options, compounds=None):
    """Return a stream of specimens of a modality; those of ``compounds`` have a formula only."""
    conditions, shares = conditions_of(modality, chemistry)
    return SpecimenStream(
        crystals,
        make_blocks(modality, chemistry, statistics=True),
        conditions=conditions,
        shares=shares,
        weights=weights,
        missing={modality: 0.05, "formula": 0.35} if chemistry else None,
        zones=ZONE_SHARES if modality == "spots" else None,
        compounds=compounds,
        compound_share=COMPOUND_SHARE,
        chunk_size=options.chunk_size,
        device=options.device,
        random_state=options.seed,
        verbose=1,
    )


def watcher(path, features):
    """Return a callback that prints the scores on measured powder patterns."""
    if path is None:
        return None
    from bench_measured import measured_specimens

    X, y = measured_specimens(path)
    X["formula"] = None
    table = features.transform(X)
    start = time.perf_counter()

    def watch(model, n_rendered):
        scores = level_scores(y, model.predict_proba(table), model.classes_, hierarchy="space_group")
        report = [f"{name} {scores[name]:.3f}" for name in WATCHED]
        print(f"{n_rendered} specimens, {time.perf_counter() - start:.0f} s:", *report, flush=True)

    return watch


def with_prototypes(model, X, y):
    """Return a network for powders with the prototypes of the package beside it."""
    match = PrototypeMatch(q_range=POWDER_GRID["q_range"], modality="powder", all_missing="missing")
    parts = FrozenEstimator(model), FrozenEstimator(match.fit(X))
    return PrototypeBlend(*parts, sure=SURE, all_missing="missing").fit(X, y)


def make_published(model, stream, modality, labels):
    """Return a pipeline for specimens; the library is AMCSD and `load_experimental`, none for spot patterns.

    With formulas, what `load_compounds` says of a composition joins in, and for powders what prototypes with
    its elements do, if the network is not sure. ``labels`` are space groups with the shares that they have in
    the training.

    An absent column counts as not measured; a column that the pipeline does not know is an error. A row
    without any readable cell gets NaN as probabilities and 0 as space group, with a warning.
    """
    columns = SpecimenColumns(list(stream.columns_))
    if modality == "spots":
        return make_pipeline(columns, stream.features_, model)
    known = CrystalSet.concatenate([load_amcsd(), load_experimental()])
    entries = make_library(known, stream.features_, random_state=0)
    library = LibraryMatch(storage="int8", all_missing="missing").fit(*entries)
    X, y = stream.sample(1)
    if modality == "powder" and "formula" in stream.columns_:
        model = with_prototypes(model, X, y)
    parts = FrozenEstimator(model), FrozenEstimator(library)
    blend = LibraryBlend(*parts, **BLEND[modality], all_missing="missing").fit(X, y)
    if "formula" in stream.columns_:
        X = X.iloc[np.resize(np.arange(len(X)), len(labels))]
        blend = CompoundBlend(FrozenEstimator(blend), all_missing="missing").fit(X, labels)
    return make_pipeline(columns, stream.features_, blend)


def make_card(options, counts, device, seconds):
    """Return the description of a trained pipeline that is stored beside it."""
    conditions, shares = conditions_of(options.modality, options.chemistry)
    spots = {"zone_shares": ZONE_SHARES} if options.modality == "spots" else {}
    if options.exclude_fold is not None:
        spots["held_out"] = (
            f"no compound of fold {options.exclude_fold} of the five grouped folds of AMCSD was in the "
            "training: scores on these compounds are those of unseen ones"
        )
    return {
        "pipeline": options.out.name,
        "xtalsk": xtalsk.__version__,
        "modality": options.modality,
        "chemistry": options.chemistry,
        "n_specimens": options.n_specimens,
        "n_uses": options.n_uses,
        "training_seconds": round(seconds),
        "device": str(device),
        "crystals": counts,
        "compound_share": COMPOUND_SHARE if options.chemistry and options.exclude_fold is None else 0,
        "source_shares": SHARES,
        "system_shares": system_shares(options.modality),
        **spots,
        "start": options.start and Path(options.start).stem,
        "model": {k: v for k, v in network_parameters(options).items() if k != "random_state"},
        "conditions": {
            column: [
                {"share": s, "conditions": repr(c)} for s, c in zip(shares[column], members, strict=True)
            ]
            for column, members in conditions.items()
        },
    }


def pack(name, file):
    """Put a trained pipeline and its card into the package under a name."""
    pipeline = xtalsk.load(file)
    training = json.loads(file.with_suffix(".json").read_text())
    del training["pipeline"]
    card = json.loads((CARDS / f"{name}.json").read_text(encoding="utf-8"))
    card |= {"versions": {"xtalsk": xtalsk.__version__} | library_versions(), "training": training}
    out = pretrained.MODELS / f"{name}.xtalsk"
    xtalsk.save(pipeline, out)
    if out.stat().st_size > MAX_BYTES:
        raise SystemExit(
            f"{out} has {out.stat().st_size / 1e6:.1f} MB; models in the package have at most 20"
        )
    out.with_suffix(".json").write_text(
        json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def parse_options(arguments):
    """Return the options of the command line, with defaults that depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=("powder", "rings", "spots"), required=True)
    parser.add_argument("--chemistry", action="store_true", help="also compositions, which may be missing")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .xtalsk file")
    parser.add_argument(
        "--pack", action="store_true", help="train nothing: put FILE into the package for load_pretrained"
    )
    parser.add_argument(
        "--n-specimens", type=int, help="specimens to render; by default 30 million on a GPU, else 200,000"
    )
    parser.add_argument(
        "--n-uses", type=int, help="uses of each specimen; by default 1 on a GPU, else 10 (rings 20)"
    )
    parser.add_argument("--chunk-size", type=int, help="2048 by default, 512 for spots")
    parser.add_argument("--n-jobs", type=int, default=1, help="processes that render, on the CPU")
    parser.add_argument(
        "--exclude-fold",
        type=int,
        choices=range(5),
        metavar="K",
        help="AMCSD compounds kept for tests, 0 to 4",
    )
    parser.add_argument("--materials-project", metavar="FOLDER", help="folder of mp_a.csv.gz and so on")
    parser.add_argument(
        "--experimental", metavar="NPZ", help="experimental structures in place of load_experimental()"
    )
    parser.add_argument("--cache", metavar="NPZ", help="cache of the Materials Project crystals")
    parser.add_argument("--n-random", type=int, default=20_000, help="number of random crystals")
    parser.add_argument(
        "--n-substituted", type=int, default=60_000, help="number of crystals with substituted elements"
    )
    parser.add_argument(
        "--watch", metavar="NPZ", help="measured powder patterns that are scored, not used for training"
    )
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="a pretrained model or a .xtalsk file whose network gives the first weights",
    )
    parser.add_argument("--learning-rate", type=float, help="highest learning rate, by default 3e-3")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    on_gpu = options.device.startswith("cuda") or (options.device == "auto" and torch.cuda.is_available())
    options.n_specimens = options.n_specimens or (30_000_000 if on_gpu else 200_000)
    options.n_uses = options.n_uses or (1 if on_gpu else 10 if options.modality == "powder" else 20)
    options.chunk_size = options.chunk_size or (512 if options.modality == "spots" else 2048)
    return options


def main(arguments=None):
    options = parse_options(arguments)
    if options.pack:
        pack(options.modality, options.out)
        return
    checkpoint = f"{options.out}.checkpoint"
    crystals, weights, counts = load_crystals(
        options.materials_project,
        options.cache,
        options.n_random,
        system_shares(options.modality),
        options.exclude_fold,
        options.experimental,
        options.n_substituted,
    )
    with_compounds = options.chemistry and options.exclude_fold is None
    compounds = load_compounds() if with_compounds else None
    stream = make_stream(options.modality, options.chemistry, crystals, weights, options, compounds)
    model = FusionClassifier(**network_parameters(options), device=options.device)
    model = fit_stream(
        model,
        stream,
        options.n_specimens,
        n_uses=options.n_uses,
        start=None if options.start is None else network_of(options.start),
        checkpoint=checkpoint,
        n_jobs=options.n_jobs,
        callback=watcher(options.watch if options.modality == "powder" else None, stream.features_),
        verbose=1,
    )
    model.net_.compact()
    model.device = "auto"  # of the machine that predicts
    labels = np.random.default_rng(0).choice(crystals.space_groups, N_LABELS, p=weights)
    xtalsk.save(make_published(model, stream, options.modality, labels), options.out)
    card = make_card(options, counts, stream.device, read_checkpoint(checkpoint)["seconds"])
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
