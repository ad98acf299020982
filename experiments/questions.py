"""Every experiment that `csa experiment` knows, by name."""

from experiments.atlas import ATLAS
from experiments.experiment import Experiment
from experiments.horizon import HORIZON
from experiments.rationality import RATIONALITY
from experiments.refusal_first import REFUSAL

EXPERIMENTS: dict[str, Experiment] = {
    "atlas": ATLAS,
    "horizon": HORIZON,
    "rationality": RATIONALITY,
    "refusal-first": REFUSAL,
}
