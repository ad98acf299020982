"""Every experiment that `csa experiment` knows, by name."""

from experiments.atlas import ATLAS
from experiments.disguise import DISGUISE
from experiments.drift import DRIFT
from experiments.experiment import Experiment
from experiments.guard_economics import GUARD_ECONOMICS
from experiments.horizon import HORIZON
from experiments.logs.attack import ATTACK
from experiments.logs.over_refusal import OVER_REFUSAL
from experiments.logs.spiral import SPIRAL
from experiments.logs.yielding import YIELDING
from experiments.rationality import RATIONALITY
from experiments.refusal_first import REFUSAL

CASE_STUDIES: dict[str, Experiment] = {
    "case-attack": ATTACK,
    "case-over-refusal": OVER_REFUSAL,
    "case-spiral": SPIRAL,
    "case-yielding": YIELDING,
}
"""Of published logs, which are not part of the project: `experiments.logs.source` finds them."""

EXPERIMENTS: dict[str, Experiment] = {
    "atlas": ATLAS,
    "disguise": DISGUISE,
    "drift": DRIFT,
    "guard-economics": GUARD_ECONOMICS,
    "horizon": HORIZON,
    "rationality": RATIONALITY,
    "refusal-first": REFUSAL,
    **CASE_STUDIES,
}
