"""Trained weights as the first weights of a new network."""

import numpy as np
import pytest
import torch

from xtalsk.neural import copy_weights, start_stream

SPACE_GROUPS = np.array([2, 14, 62, 225])


@pytest.fixture(scope="module")
def former(tiny, make_incomplete_data):
    return tiny(hierarchy="space_group", weight_averaging=0.9).fit(*make_incomplete_data(seed=1))


def started(model, data, classes=SPACE_GROUPS):
    return start_stream(model, *data, classes)


def test_equal_networks_answer_alike(former, tiny, incomplete_data):
    X, _ = incomplete_data
    new = started(tiny(hierarchy="space_group", random_state=5), incomplete_data)
    assert not np.allclose(new.predict_proba(X), former.predict_proba(X), atol=0.01)
    assert copy_weights(new, former) == ["rings", "formula"]
    np.testing.assert_allclose(new.predict_proba(X), former.predict_proba(X), atol=1e-6)


def test_averaged_weights_are_taken_and_the_former_network_stays_as_it_is(former, tiny, incomplete_data):
    before = {k: v.clone() for k, v in former.net_.all_weights()[-1].state_dict().items()}
    new = started(tiny(hierarchy="space_group"), incomplete_data)
    copy_weights(new, former)
    with torch.no_grad():
        for value in new.net_.module_.parameters():
            value.add_(1)
    after = former.net_.all_weights()[-1].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    first = "branches.0.0.layers.0.weight"
    torch.testing.assert_close(new.net_.module_.state_dict()[first] - 1, before[first])


def test_output_layers_go_by_class(former, tiny, incomplete_data):
    X, _ = incomplete_data
    more = np.array([1, 2, 14, 62, 166, 225])
    new = started(tiny(hierarchy="space_group"), incomplete_data, more)
    own = new.net_.module_.head[-1].weight.clone()
    copy_weights(new, former)
    rows, common = new.net_.module_.head[-1].weight, np.isin(more, SPACE_GROUPS)
    torch.testing.assert_close(rows[common], former.net_.all_weights()[-1].head[-1].weight)
    assert torch.equal(rows[~common], own[~common])
    proba = new.predict_proba(X)[:, common]
    np.testing.assert_array_equal(SPACE_GROUPS[proba.argmax(1)], former.predict(X))


def test_blocks_that_differ_keep_their_own_weights(former, tiny, incomplete_data):
    X, y = incomplete_data
    wider = X.assign(formula__x6=0.0)
    new = started(tiny(hierarchy="space_group"), (wider, y))
    own = [m.state_dict() for m in (new.net_.module_.branches[1], new.net_.module_.head)]
    own = [{name: value.clone() for name, value in state.items()} for state in own]
    assert copy_weights(new, former) == ["rings"]
    now = [m.state_dict() for m in (new.net_.module_.branches[1], new.net_.module_.head)]
    assert all(torch.equal(a[name], b[name]) for a, b in zip(own, now, strict=True) for name in a)
    other = former.net_.all_weights()[-1]
    torch.testing.assert_close(new.net_.module_.block_heads[0].weight, other.block_heads[0].weight)


def test_nothing_in_common_is_an_error(former, tiny, incomplete_data):
    X, y = incomplete_data
    names = [name.replace("rings", "powder").replace("formula", "eds") for name in X]
    new = started(tiny(hierarchy="space_group"), (X.set_axis(names, axis=1), y))
    with pytest.raises(ValueError, match=r"no sub-network of start fits: it has the blocks \['formula', "):
        copy_weights(new, former)
