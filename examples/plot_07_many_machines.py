"""
Patterns on disk, and many machines
===================================

Everything that runs in parallel uses joblib. By default joblib starts processes on one machine; with dask the
same calls use the workers of a cluster. Results do not depend on the number of workers, nor on whether one of
them stops on the way.
"""

# %%
# A cluster
# ---------
# Here the workers are threads of this process, so that the example runs anywhere. ``Client("tcp://host:8786")``
# connects to the scheduler of a real cluster (https://docs.dask.org/en/stable/deploying.html).

from tempfile import TemporaryDirectory

import joblib
import pandas as pd
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    FusionClassifier,
    PowderConditions,
    PowderProfile,
    load_amcsd,
    make_baseline,
    make_features,
    make_specimens,
)
from xtalsk.streaming import SpecimenStream, StoredStream, fit_stream, write_stream

cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
client = Client(cluster)
crystals = load_amcsd()[::30]
conditions = {"powder": PowderConditions(two_theta=(10, 80, 0.05))}

# %%
# Simulation and cross-validation
# -------------------------------
# A number of jobs divides the crystals into parts. Each part has random numbers of its own, so that it does
# not matter which worker simulates it. Large arguments of scikit-learn go to all workers by ``scatter``; then
# the others go on if one is lost.

with joblib.parallel_config("dask"):
    X, y, groups = make_specimens(
        crystals, ("powder", "formula"), conditions=conditions, random_state=0, n_jobs=-1
    )

features = make_features(
    diffraction=("powder", PowderProfile(n_bins=256)), fractions=("formula", ElementFractions())
)
trees = make_pipeline(features, make_baseline("extra_trees", random_state=0))
is_cubic = y > 194
with joblib.parallel_config("dask", scatter=[X]):
    scores = cross_validate(trees, X, is_cubic, cv=3, n_jobs=-1)
print("cubic or not:", scores["test_score"].round(2))

# %%
# A stream on disk
# ----------------
# ``write_stream`` stores the features of as many patterns as the disk holds; one chunk at a time is in
# memory. An interrupted call goes on where it was. All machines must see the folder. Training then reads the
# chunks, and gives the network that the stream itself would have given.

stream = SpecimenStream(
    crystals, features, conditions=conditions, chunk_size=512, random_state=0, device="cpu"
)
folder = TemporaryDirectory()
with joblib.parallel_config("dask"):
    write_stream(stream, folder.name, 2048, n_jobs=-1)

stored = StoredStream(folder.name, features)
model = FusionClassifier(hierarchy="space_group", hidden_size=32, n_filters=8, random_state=0)
pipeline = make_pipeline(stored.features_, fit_stream(model, stored, stored.n_specimens))
print(stored, pipeline.predict(X[:3]))

# %%
# The files are Parquet: other programs read the folder as one table.

table = pd.read_parquet(folder.name)
print(table.shape, table.columns[-1])

client.close()
cluster.close()
folder.cleanup()

# %%
# Several GPUs or nodes for one network
# -------------------------------------
# Where patterns are rendered more slowly than a network learns them, spread ``write_stream`` first. A grid
# search spreads whole trainings. For a single training on several GPUs, skorch describes ``AccelerateMixin``
# (https://skorch.readthedocs.io/en/stable/user/huggingface.html).
