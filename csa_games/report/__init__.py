"""Results as HTML pages that stand alone: nothing fetched, readable in grey, fit to print."""

from csa_games.report.experiment import experiment_report, is_experiment
from csa_games.report.page import Compared, report

__all__ = ["Compared", "experiment_report", "is_experiment", "report"]
