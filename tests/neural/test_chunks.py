"""Training on chunks of a stream and on parts of the data, with checkpoints."""

import numpy as np
import pytest
import torch

from xtalsk.neural import learn_chunk, start_stream
from xtalsk.neural._net import FusionNet

SPACE_GROUPS = np.array([2, 14, 62, 225])
EVERYTHING = {
    "hierarchy": "space_group",
    "augment": {
        "noise": 0.05,
        "stretch": 0.02,
        "shot_noise": 0.1,
        "impurity": 0.2,
        "masks": 0.2,
        "broaden": 1.0,
    },
    "mixup": 0.3,
    "weight_averaging": 0.9,
    "modality_dropout": (0.1, 0.4),
}


@pytest.fixture
def started(tiny, incomplete_data):
    """Make a network whose tables are standardised, but that has learnt nothing."""
    return lambda **params: start_stream(tiny(**params), *incomplete_data, SPACE_GROUPS)


@pytest.fixture(scope="module")
def chunks(make_incomplete_data):
    tables = [make_incomplete_data(seed=seed) for seed in range(4)]
    return [(torch.from_numpy(X.to_numpy()), y) for X, y in tables]


def test_partial_fit_resumes_bit_for_bit(incomplete_data, tiny, revive):
    X, y = incomplete_data
    straight = tiny(**EVERYTHING, sampling=0.5)
    for _ in range(4):
        straight.partial_fit(X, y, classes=SPACE_GROUPS)
    resumed = tiny(**EVERYTHING, sampling=0.5)
    for _ in range(4):
        resumed = revive(resumed.partial_fit(X, y, classes=SPACE_GROUPS))
    np.testing.assert_array_equal(resumed.predict_proba(X), straight.predict_proba(X))
    assert resumed.loss_curve_ == straight.loss_curve_
    assert resumed.net_.average_.n_averaged == resumed.net_.n_steps_ == 24
    for module, other in zip(resumed.net_.all_weights(), straight.net_.all_weights(), strict=True):
        assert all(map(torch.equal, module.state_dict().values(), other.state_dict().values()))


def test_a_stream_resumes_bit_for_bit(incomplete_data, started, chunks, revive):
    X, _ = incomplete_data
    straight, resumed = started(**EVERYTHING), started(**EVERYTHING)
    with torch.random.fork_rng():
        for i, (values, y) in enumerate(chunks):
            learn_chunk(straight, values, y, 0.01, progress=i / 4)
            torch.manual_seed(i)  # the global random state must not matter
            learn_chunk(resumed, values, y, 0.01, progress=i / 4)
            resumed = revive(resumed)
    np.testing.assert_array_equal(resumed.predict_proba(X), straight.predict_proba(X))
    assert resumed.loss_curve_ == straight.loss_curve_
    assert resumed.n_iter_ == len(resumed.loss_curve_) == 4


def test_a_stream_learns_and_leaves_global_random_numbers_alone(started, chunks, make_incomplete_data):
    model, state = started(), torch.get_rng_state()
    losses = [learn_chunk(model, *chunk, 2e-3) for chunk in chunks * 4]
    assert torch.equal(torch.get_rng_state(), state)
    assert losses[-1] < losses[0]
    X, y = make_incomplete_data(seed=9)
    assert model.score(X, y) > 0.8


def test_learning_rate_and_progress_of_a_chunk(started, chunks, record):
    model = started(learning_rate=0.5, modality_dropout=(0.0, 0.4))
    calls = record(FusionNet, "set_step")
    learn_chunk(model, *chunks[0], 0.01)
    learn_chunk(model, *chunks[1], 0.02, progress=0.25)
    assert [arguments for _, *arguments in calls] == [[0.01, 1.0], [0.02, 0.25]]
    assert model.net_.module_.progress == 0.25
    assert model.net_.optimizer_.param_groups[0]["lr"] == 0.02


def test_weights_of_zero_change_no_parameters(started, chunks):
    model = started(weight_decay=0.0, class_weight=dict.fromkeys(SPACE_GROUPS.tolist(), 0.0))
    before = {name: value.clone() for name, value in model.net_.module_.named_parameters()}
    assert learn_chunk(model, *chunks[0], 0.01) == 0
    for name, value in model.net_.module_.named_parameters():
        assert torch.equal(value, before[name])


def test_each_step_of_a_stream_draws_anew(started, chunks):
    model = started(batch_size=96)
    losses = [learn_chunk(model, *chunks[0], 0.0) for _ in range(3)]
    assert len(set(losses)) == 3
    still = started(batch_size=96, augment=None, dropout=0.0, modality_dropout=0.0)
    losses = [learn_chunk(still, *chunks[0], 0.0) for _ in range(3)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_a_chunk_is_learnt_in_batches(started, chunks, record):
    values, y = chunks[0]
    calls = record(FusionNet, "train_step")
    model = started(batch_size=40, class_weight={62: 3.0})
    loss = learn_chunk(model, values, y, 0.01)
    assert [len(batch[0]) for _, batch in calls] == [40, 40, 16]
    assert model.loss_curve_ == [loss]
    shuffled = torch.cat([batch[0] for _, batch in calls])[:, -1].nan_to_num()
    column = values[:, -1].nan_to_num()
    assert not torch.equal(shuffled, column)
    assert torch.equal(shuffled.sort()[0], column.sort()[0])
    learn_chunk(model, values, y, 0.01)
    again = torch.cat([batch[0][:, -1] for _, batch in calls[3:]]).nan_to_num()
    assert not torch.equal(again, shuffled)
    for _, (_, (target, weight)) in calls:
        assert torch.equal(weight, torch.where(target == 2, 3.0, 1.0))


def test_bad_chunks(started, chunks):
    values, y = chunks[0]
    with pytest.raises(ValueError, match=r"not among classes: \[230\]"):
        learn_chunk(started(), values, np.full(len(y), 230), 0.01)
    with pytest.raises(ValueError, match="no rows"):
        learn_chunk(started(), values[:0], y[:0], 0.01)
    with pytest.raises(ValueError, match="balanced"):
        started(class_weight="balanced")
