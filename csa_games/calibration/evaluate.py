"""A scenario and a policy evaluated on conversations that they were not fitted to: all of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from csa_games.calibration.likelihood import Likelihood, likelihoods
from csa_games.calibration.logged import Logged
from csa_games.calibration.mapping import Mapping as Reading
from csa_games.calibration.offpolicy import LEAST_EFFECTIVE, OffPolicy, can_mix, off_policy
from csa_games.calibration.paths import Paths, paths
from csa_games.calibration.policies import Home, even_users
from csa_games.calibration.predict import shares
from csa_games.calibration.reliability import Reliability, reliabilities, type_shares
from csa_games.calibration.seen import SeenPolicy, seen_policies
from csa_games.dialogue import tables
from csa_games.game import ASSISTANT, USER, Policy
from csa_games.scenario import Scenario
from csa_games.words import counted, join


@dataclass(frozen=True)
class Evaluation:
    """What held-out conversations say of a scenario, and of a policy if one was given.

    `off_policy` is None without a policy; `seen` is empty without a game to value policies in.
    """

    likelihoods: tuple[Likelihood, ...]
    reliabilities: tuple[Reliability, ...]
    seen: tuple[SeenPolicy, ...]
    off_policy: OffPolicy | None
    remarks: tuple[str, ...]


def evaluate(
    scenario: Scenario,
    log: Logged,
    reading: Reading,
    *,
    train: Logged | None = None,
    others: Mapping[str, Scenario] | None = None,
    home: Home | None = None,
    policy: Policy | None = None,
    typed: bool = True,
    recorded: bool = False,
    least_effective: float = LEAST_EFFECTIVE,
    level: float = 0.9,
) -> Evaluation:
    """Return what `log` says of `scenario`, and of a `policy` in its game, `home`.

    `train` is the part of the log that the scenario was fitted to, `others` are scenarios to
    compare its likelihood with. If not `typed`, predictions are made as if no type were recorded.
    """
    population = reading.design == "population"
    likelihood = likelihoods(
        scenario,
        log,
        others=others,
        train=train,
        typed=typed,
        population=population,
        level=level,
    )
    mixed = None  # how common intents are in the log, where priors are no account of it
    if not population:
        mixed = type_shares(log, len(scenario.intents))
        if train is not None:
            mixed = shares(scenario, train.codes)
    reliability = reliabilities(scenario, log, typed=typed, prior=mixed, level=level)
    found: list[SeenPolicy] = []
    value, given, weighed = None, None, False
    if home is not None:
        given = paths(log, home, prior=mixed)
        users = even_users(home) if policy is None else np.asarray(policy[USER], np.float64)
        found = seen_policies(log, given, home, users, policy, level=level)
        if policy is not None:
            prior = tables(scenario).prior
            weighed = not population and can_mix(given, prior)
            value = off_policy(
                given,
                home,
                (even_users(home), policy[ASSISTANT]),  # those of the log, as far as it is known
                prior=prior if weighed else None,
                recorded=recorded,
                least_effective=least_effective,
                level=level,
            )
    remarks = _remarks(
        scenario, log, reading, given, mixed is not None, policy is not None, weighed
    )
    return Evaluation(tuple(likelihood), tuple(reliability), tuple(found), value, tuple(remarks))


def _remarks(
    scenario: Scenario,
    log: Logged,
    reading: Reading,
    given: Paths | None,
    mixed: bool,
    valued: bool,
    weighed: bool,
) -> Iterator[str]:
    """Yield what to know before believing an evaluation."""
    clusters = len(np.unique(log.cluster))
    what = "groups" if reading.cluster == "group" else "conversations"
    yield (
        f"Intervals hold over {clusters:,} {what}, taken as drawn independently."
        + (" With so few they say little." if clusters < 20 else "")
    )
    untyped = int((log.codes.intent < 0).sum())
    if untyped:
        yield (
            f"{counted(untyped, 'conversation has', 'conversations have')} no type: likelihoods "
            "sum over intents, and what such a conversation is worth is an expectation under the "
            f"belief of {scenario.name} in each intent."
        )
    if mixed:
        yield (
            f"The log is {reading.design}, so beliefs in intents start from how common they are in "
            "it, not from priors: what is checked is what signals and asks tell."
        )
    choosing = [part.name for part in scenario.intents if part.behaviour != "kernel"]
    if choosing:
        yield (
            f"Users who choose ({join(choosing)}) are predicted to ask evenly what they may"
            + (
                ", and a value on the log is one to users who go on as in the log, not to such as "
                "adapt to the policy."
                if valued
                else "."
            )
        )
    if given is not None:
        lost = [f"{count:,} because {why}" for why, count in given.left_out.items() if count]
        if lost:
            yield (
                f"Of {len(log.cluster):,} conversations {len(given.intent):,} are whole and can be "
                f"valued; left out are {join(lost)}."
            )
    if valued:
        yield (
            "Conversations of each intent count as often as its prior says."
            if weighed
            else "Intents are as common as in the log."
        )
