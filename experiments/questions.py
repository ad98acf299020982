"""Every experiment that `csa experiment` knows, by name."""

from experiments.experiment import Experiment
from experiments.horizon import HORIZON

EXPERIMENTS: dict[str, Experiment] = {
    "horizon": HORIZON,
}
