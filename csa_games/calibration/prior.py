"""Priors over intents: only a sample of a population tells them.

A benchmark has as many malicious prompts as its makers put in, and what was flagged or reported has
too many; neither says how common anybody is. So there is a row of priors only for logs whose
mapping says that they are a population, or a random sample of one.
"""

from csa_games.calibration.mapping import Design
from csa_games.calibration.rows import Row
from csa_games.errors import InputError
from csa_games.scenario import Scenario

REFUSAL = {
    "designed": "the log is designed: whoever made it chose how many of each intent there are",
    "filtered": "the log is filtered: what was said decided which conversations are in it",
}


def prior_row(scenario: Scenario, design: Design) -> Row:
    """Return the row of priors; raises `InputError` unless `design` is a population."""
    if design in REFUSAL:
        raise InputError(f"{REFUSAL[design]}, so it does not tell the priors")
    intents = tuple(part.name for part in scenario.intents)
    base = tuple(part.prior.value for part in scenario.intents)
    return Row("priors", "priors", "prior", intents, base, tuple(range(len(intents))))
