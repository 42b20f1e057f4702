"""Constants of `PrototypeMatch`: what each does and what it was tuned on.

Tuned on simulated patterns of 250 structures of the Materials Project, whose formulas were left out, with
exact formulas and errors of 10%: ``python benchmarks/bench_prototypes.py FOLDER --seed 1`` measures the like.
"""

# Candidates
MAX_ELEMENTS = 7  # prototypes and compositions of more elements have no candidates; set by eye
MAX_STOICHIOMETRY = 40.0  # largest χ² of the amounts of a candidate
TIED_ASSIGNMENT = 6.0  # χ² above that of the best assignment of elements to sites that others may have
ASSIGNMENTS = 4  # assignments of elements to the sites of one prototype that are compared
MEMBERS = 2  # compared decorations of one class of similar prototypes
MERGED_DISTANCE = 0.9  # elements up to this distance may share a site
MERGED_COST = 1.5  # cost in the score of two elements that share a site; by eye
LEFT_OUT = 3  # traces and elements of film and grid that may be left out of one composition; set by eye
WITHOUT_STRAY_COST = 1.0  # cost in the score of leaving out a trace, or an element of film or grid; by eye

# Score of a candidate: sum of these weights times its figures
CHEMISTRY_WEIGHT = 1.2  # distance of the elements from those of the prototype, mean over the atoms
STOICHIOMETRY_WEIGHT = 1.0  # log(1 + χ² / 4) of the amounts
FREQUENCY_WEIGHT = 0.4  # logarithm of the number of prototypes of the class
SHARPNESS = 25.0  # similarity
SCALE_ERROR = 0.02  # standard deviation of the scale that the elements predict
SCALE_WEIGHT = 0.1  # square of the error of the scale in this unit
STRAIN_ERROR = 0.03  # standard deviation of the other strains
STRAIN_COST = 0.004  # similarity that each further strain that is refined costs

# Comparison of profiles
LOG_STEP = 0.0025  # step of ln q
MAX_Q = 0.75  # 1/Å; profiles are compared up to here
LINE_MARGIN = 1.15  # lines of a prototype reach this factor further than the profile
FLOOR = 0.003  # lines of this share of the strongest are lost in the noise
WIDTHS = {"powder": 0.0035, "rings": 0.025}  # full widths at half maximum of lines in 1/Å
SMOOTHING = {"powder": 0.0025, "rings": 0.006}  # full width of the Gaussian that smooths a measured profile

# Limits
MAX_LINES = 2**21  # lines that the cache of prototypes keeps
REMEMBERED_ROWS = 1024  # rows whose candidates are kept for the next call: 50 MB
REFINED_STEPS = (0.008, 0.004, 0.002, 0.001)  # steps of strains

# Probabilities, fitted on simulations of compounds that are not among the prototypes, with exact compositions
# and with errors of 10%: 150 harsh powders of AMCSD and 150 typical ones of the Materials Project together,
# and 120 harsh ring images of the latter. Script not kept; `python benchmarks/bench_prototypes.py FOLDER
# --seed 1 --probability`, with --amcsd or --modality rings, fits one of these sets at a time. The logits are
# intercept + slopes · (similarity of the best candidate, its score without the profile). The sharpness for
# powders was chosen by the first five of 200 compounds of the Materials Project (--seed 0) besides.
VOTE_SHARPNESS = {"powder": 1.0, "rings": 1.3}  # factor of the scores in the softmax of the votes
ANSWER_LOGITS = {  # that the structure of one of the candidates is right
    "powder": (-2.96, 5.8, 0.93),
    "rings": (1.84, 0.0, 0.97),
}
# Beside a classifier: 0.3 and 0.5 are equal, 0 is a point worse, on the same 200 compounds (--seed 0)
CLASSIFIER_EXPONENT = 0.3  # exponent of its probability over the prior, as a weight of candidates
RARE = 1e-3  # probability that is added to both, because no classifier is sure; set by eye

WEAKEST_LINE = 0.1
"""Height of the weakest calculated line that counts as missing, over that of the highest; set by eye."""
