"""A scenario with a quantal intent, the policy that its users know, and logs drawn from it."""

import numpy as np

from csa_games.calibration.simulate import simulate
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER
from csa_games.guard.keys import turns_of
from csa_games.scenario import scenario_from
from solvers.reaction import reaction

SOURCE = "assumption: planted"
RATIONALITY, SATISFACTION, RISK = 1.5, 1.0, 1.6  # what the log is made with, effort weighing 1


def planted(turns=2, **changes):
    """Return a scenario with a quantal intent among people with a kernel."""
    quantity = lambda value: {"value": value, "source": SOURCE}
    asks = ["plain", "veiled", "brazen", "leave"]
    values = {  # by ask: satisfaction of comply and refuse, risk of both
        "plain": ((0.9, 0.1), (0.05, 0.0)),
        "veiled": ((0.4, -0.2), (0.6, 0.1)),
        "brazen": ((0.7, -0.8), (1.0, 0.0)),
        "leave": ((0.0, 0.0), (0.0, 0.0)),
    }
    seeker = {
        "name": "seeker",
        "description": "Somebody who wants something.",
        "prior": quantity(0.75),
        "behaviour": "quantal",
        "asks": asks,
        "weights": {"satisfaction": SATISFACTION, "risk": RISK, "source": SOURCE},
        "rationality": quantity(RATIONALITY),
    }
    kernel = {"source": SOURCE, "opening": {"plain": 1.0}, "after": {}}
    kernel["after"] = {name: {"plain": 0.5, "leave": 0.5} for name in ("comply", "refuse")}
    other = {
        "name": "other",
        "description": "Somebody else.",
        "prior": quantity(0.25),
        "behaviour": "kernel",
        "asks": asks,
        "kernel": kernel,
    }
    cells = lambda which: [
        {"asks": [ask], "values": dict(zip(("comply", "refuse"), both[which], strict=True))}
        | {"source": SOURCE}
        | ({"category": "harm"} if which else {})
        for ask, both in values.items()
        if ask != "leave"
    ]
    efforts = dict(zip(asks, (0.1, 0.8, 0.2, 0.0), strict=True))
    content = {
        "format": 1,
        "name": "planted",
        "title": "A planted scenario",
        "question": "Does it come back?",
        "turns": turns,
        "discount": quantity(0.9),
        "sources": {},
        "weights": {
            name: quantity(1.0 if name != "psi" else 0.0)
            for name in ("alpha", "beta", "gamma", "psi")
        },
        "intents": [seeker, other],
        "asks": [
            {"name": ask, "description": "An ask."} | ({"ends": ask} if ask == "leave" else {})
            for ask in asks
        ],
        "signals": [{"name": name, "description": "A verdict."} for name in ("clear", "flag")],
        "responses": [
            {"name": name, "description": "A response.", "mechanism": "text", "text": name}
            for name in ("comply", "refuse")
        ],
        "categories": [{"name": "harm", "description": "Harm.", "severity": quantity(3.0)}],
        "channel": [
            {
                "intents": ["seeker", "other"],
                "asks": [ask],
                "probabilities": {"clear": clear, "flag": 1 - clear},
                "source": SOURCE,
            }
            for ask, clear in (("plain", 0.9), ("veiled", 0.7), ("brazen", 0.2))
        ],
        "payoff": {
            "satisfaction": cells(0),
            "risk": cells(1),
            "cost": [{"values": {"comply": 0.0, "refuse": 0.0}, "source": SOURCE}],
            "displacement": [],
            "effort": [{"intents": ["seeker"], "values": efforts, "source": SOURCE}],
        },
        "fallback": {"rungs": [["turn", "ask"], ["signal"]], "response": "refuse"},
        "baselines": {
            "comply": "comply",
            "refuse": "refuse",
            "threshold": {"clear": "comply", "flag": "refuse"},
        },
    }
    for path, value in changes.items():
        if path == "asks":
            seeker["asks"] = value
            content["payoff"]["effort"][0]["values"] = {ask: efforts[ask] for ask in value}
        else:
            content["payoff"][path] = value
    return scenario_from(content, "planted")


# P(comply) by turn and signal
COMPLIES = np.array([[0.9, 0.15], [0.75, 0.3]])


def complies(scenario):
    """Return the assistant's policy by the infosets of the factored game, read off their keys."""
    signals = [part.name for part in scenario.signals]
    states = map(turns_of, factored_game(scenario).names.infosets[ASSISTANT])
    share = np.array([COMPLIES[len(s) - 1, signals.index(s[-1].signal)] for s in states])
    return np.stack([share, 1 - share], axis=1)


def drawn_log(truth, count, seed):
    """Return a log of two turns, users reacting as the solvers say that quantal ones do."""
    reacts = reaction(factored_game(truth), USER, complies(truth))
    # Responses depend on the turn and the signal alone, and so do the users' on the turn.
    chosen = np.stack([reacts[0], reacts[1]])
    even = np.broadcast_to(COMPLIES[:, None, :, None], (2, 4, 2, 1))
    responses = np.concatenate([even, 1 - even], axis=-1)
    return simulate(
        truth, count, np.random.default_rng(seed), responses=responses, asks={"seeker": chosen}
    )
