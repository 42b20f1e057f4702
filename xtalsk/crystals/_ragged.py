"""Arrays of unequal lengths, end to end."""

import numpy as np

_IDENTITY = np.eye(3, dtype=np.int8)[None]


def ragged_arange(starts, lengths):
    """Concatenate ``arange(start, start + length)`` over all starts without a loop."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def unique_rotations(rotation_sets):
    """Distinct sets of rotations, and the index (n,) of each of the n sets among them."""
    index_of_key, unique, index = {}, [], []
    for rotations in rotation_sets:
        distinct = np.unique(np.asarray(rotations, dtype=np.int8), axis=0)
        key = distinct.tobytes()
        if key not in index_of_key:
            index_of_key[key] = len(unique)
            unique.append(distinct)
        index.append(index_of_key[key])
    return unique or [_IDENTITY], np.array(index, dtype=np.int32)
