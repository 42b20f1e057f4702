"""What estimators that wrap a classifier with a library pass on to it."""

OF_SEARCH_MATCH = frozenset(
    {"candidates", "match_probability", "no_match_probability", "nothing_fits", "weight"}
)
"""Methods of `LibraryMatch` and `LibraryBlend`."""

PARTS = frozenset({"classifier_", "library_"})
"""Attributes of `LibraryBlend`."""
