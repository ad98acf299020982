"""The result as one HTML page that stands alone: no scripts, nothing fetched, fit to print."""

from csa_games.report.page import Compared, report

__all__ = ["Compared", "report"]
