"""scikit-learn's own checks of the classifier."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from xtalsk.neural import FusionClassifier

EXPECTED_FAILED_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": "batches differ: a weight of 2 is not the row twice",
}


@parametrize_with_checks(
    [FusionClassifier(max_epochs=30, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS,
)
def test_sklearn_checks(estimator, check):
    check(estimator)
