"""Every experiment that `csa experiment` knows, by name."""

from experiments.atlas import ATLAS
from experiments.experiment import Experiment
from experiments.horizon import HORIZON

EXPERIMENTS: dict[str, Experiment] = {
    "atlas": ATLAS,
    "horizon": HORIZON,
}
