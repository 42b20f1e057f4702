"""Tuned constants of the network: what each does and what it was tuned on.

"Not recorded" means that no data and no command are on record for the choice. `benchmarks/bench_ablation.py`
measures what each kind of augmentation and the weights of the levels are worth; benchmarks/README.md has the
results. The defaults of `FusionClassifier` are in its signature.
"""

# Augmentation of profiles (`_augment`, `_disturbances`)
AUGMENT_AMOUNTS = {
    "noise": 0.05,
    "background": 0.3,
    "stretch": 0.05,
    "jitter": 0.3,
    "shot_noise": 0.0,
    "peak_dropout": 0.0,
    "impurity": 0.0,
    "masks": 0.0,
    "shift": 0.0,
    "broaden": 0.0,
}
"""Amounts at strength 1. The choice is not recorded. `benchmarks/bench_ablation.py --precision bfloat16`
tested it afterwards on 1,500 AMCSD structures: stretch is worth about ten points of space group, jitter
rather harms, and noise and background make no clear difference. The amounts stayed as they were."""

MAX_AMOUNTS = {"peak_dropout": 1.0, "impurity": 0.9, "masks": 0.9}
"""Largest valid amounts: a probability, and shares that leave a part of the profile. Set by eye."""

ENERGY_STRETCH = 0.002  # largest stretch of an energy axis, 13 eV at Fe Kα: a calibration error; set by eye
FOREIGN_STRETCH = 0.1  # largest stretch of a foreign phase, which makes it unlike the crystals; not recorded
JITTER_BINS = 12  # bins between the knots of the slowly varying factor; not recorded
DOSE_RANGE = 100.0  # ratio of the largest to the smallest relative counting noise; not recorded
WEAK_WINDOWS = 3  # windows of a profile that `drop_peaks` may weaken; not recorded
WEAK_WIDTH = 1 / 64  # largest half width of such a window, as a share of the profile; not recorded
WEAK_REST = 0.2  # largest share of the profile that is left in the middle of such a window; not recorded
BACKGROUND_DECAY = 8.0  # largest exponent by which the added background falls along the profile; not recorded
MASK_POWER = 3  # power of the random shares of the masks: at 3, one mask often has most of them; not recorded

# Sub-networks (`_branches`); all: not recorded
MAX_DEVIATION = 10.0  # columns of tables are clipped at this many standard deviations
FINAL_BINS = 16  # the length of a profile is halved until it has at most this many bins
FINAL_PIXELS = 4  # an image is halved until its longer side has at most this many pixels
FIRST_KERNEL = 7  # bins of the first convolution of a profile
KERNEL = 5  # bins of its other convolutions
IMAGE_KERNEL = 3  # pixels of the side of the convolutions of an image
WIDEST = 2  # most channels of a profile, in units of n_filters
WIDEST_RESIDUAL = 4  # the same with residual blocks
WIDEST_IMAGE = 4  # most channels of an image, in units of n_filters

# Elements of a composition and lines of a pattern (`_sets`). Set by eye, except the waves of fractions and
# the substitution. Both were tried once on the first fold of `bench_baselines.py compare --cache FILE` (1,000
# test compositions, one seed, an error of 0.014): the share of right space groups from fractions alone was
# 0.245 without the waves and 0.278 with them; from all blocks, 0.303 without the substitution and 0.321 with.
SET_SIZE = 64  # numbers that describe a member of a set
SET_HEADS = 4  # heads of attention
SET_LAYERS = 2  # layers of attention
MAX_MEMBERS = 16  # most abundant elements that are read
ELEMENT_SCALE = 0.1  # spread of the initial vectors of elements, beside their tabulated properties
FRACTION_NOISE = 0.2  # largest standard deviation of the logarithm of atomic fractions in training
FRACTION_WAVES = (3.0, 6.0)  # waves per unit that describe a fraction; they separate 1/3 from 1/4 and 2/5
SUBSTITUTION = 0.15  # probability that an element is replaced in training
N_SIMILAR = 5  # elements of most similar properties, one of which replaces it
SMALLEST_FRACTION = 1e-4  # fractions below it have its logarithm
N_WAVES = 8  # waves that describe the position of a line; the shortest is the width of a narrow line

# Members of a joined block (`_pooling`)
MEMBER_DROPOUT = 0.5  # share of the rows that lose a random share of their members in training; set by eye

# Labels (`_labels`)
FEWEST_CODES = 3  # labels 1 to n may be codes from this n on; 1 and 2 alone are triclinic; set by eye

# Loss (`_loss`)
LEVEL_WEIGHTS = {"space_group": {"crystal_system": 1.0, "point_group": 1.0, "space_group": 1.0}}
"""Default weights of the levels of each hierarchy: equal, set by eye. With the space group alone,
`benchmarks/bench_ablation.py --precision bfloat16` found 1 to 6 points less of crystal system; differences of
space group were within the error."""

# Course of the training (`_callbacks`, `_averaging`)
WARM_UP = 0.25  # share of the steps of "one_cycle" in which the learning rate rises; not recorded
START_RATE = 0.04  # first learning rate of "one_cycle" as a share of the highest; not recorded
AVERAGE_DELAY = 9  # after n updates, averaged weights keep at most n / (n + 9) of themselves; not recorded

# Prediction (`_net`)
SCALE_RANGE = 0.002  # largest change of scale at which profiles are read (n_test_time_scales); not recorded
PREDICT_ROWS = {"cpu": 128, "cuda": 1024}
"""Rows of a batch in prediction; speed only. On a CPU, the tensors of a batch should fit in its caches."""

FEW_ROWS = 16  # rows up to which prediction does not prepare faster layers; speed only
