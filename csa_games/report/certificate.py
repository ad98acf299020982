"""What a certificate says and what it does not, in sentences."""

from math import ceil, floor, log10

from csa_games.game import ASSISTANT, USER, Game, GameClass, Solution, Status
from csa_games.words import decimal, join, number

CLASSES: dict[GameClass, str] = {
    "security": "Security class: every strategic intent is adversarial, so the game is zero-sum "
    "and the policy is held against the worst they can do.",
    "zero-sum": "Zero-sum game: what one player gains the other loses.",
    "general-sum": "General-sum game: the players' interests are neither opposed nor the same.",
}

STATUSES: dict[Status, str] = {
    "target": "the gap target was reached",
    "exact": "solved exactly, up to rounding",
    "stationary": "no step improved it any more, which proves nothing",
    "max_steps": "the limit on steps was reached",
    "seconds": "the time limit was reached",
    "interrupted": "interrupted; this is the best result so far",
    "nonfinite": "numbers ran out of range; this is the last finite result",
}
"""Why a run ended, by status."""


def bounds(solution: Solution, player: int) -> tuple[float, float]:
    """Return what `player`'s policy guarantees it and what no policy of its can beat.

    In a game whose payoffs sum to a constant: its value less the opponent's gap, and its value plus
    its own gap (both by the definition of a best response). Elsewhere these bound nothing.
    """
    value, gap = solution.value, solution.gap
    return float(value[player] - gap[1 - player]), float(value[player] + gap[player])


def spoken(solution: Solution, player: int) -> tuple[str, str, str]:
    """Return `player`'s (value, guaranteed, at best), to as many digits as the gap lets matter.

    The bounds are rounded away from the value, so that they stay true.
    """
    low, high = bounds(solution, player)
    digits = digits_of(solution)
    unit = 10.0**digits
    return (
        decimal(float(solution.value[player]), digits),
        decimal(floor(low * unit) / unit, digits),
        decimal(ceil(high * unit) / unit, digits),
    )


def digits_of(solution: Solution) -> int:
    """Return how many digits after the point the gap lets matter, from 3 to 8."""
    return min(max(ceil(-log10(max(solution.nash_conv, 1e-8))), 3), 8)


def guarantee(game: Game, solution: Solution) -> tuple[str, ...]:
    """Return what the certificate guarantees, by class of the game, a paragraph each."""
    if game.game_class == "general-sum":
        return _measured(game, solution)
    if game.game_class == "zero-sum":
        return tuple(_held(game, solution, player) for player in (0, 1))
    assert game.scenario is not None
    value, low, high = spoken(solution, ASSISTANT)
    left = number(solution.nash_conv)
    who = join([i.name for i in game.scenario.intents if i.behaviour == "adversarial"])
    if not who:
        return (
            "Nobody here acts strategically: every user reacts with fixed probabilities. The "
            f"policy earns {value} a conversation, and no policy earns more than {high}.",
        )
    return (
        f"Whatever {who} users do with the asks they have here, the assistant's expected payoff is "
        f"at least {low} a conversation. That is its value, {value}, less the "
        f"{number(float(solution.gap[USER]))} that they would take from it with the best response "
        "to this very policy, known to them in full.",
        f"No policy can guarantee more than {high}, so at most {left} is left to gain. Up to that "
        "amount this is also the best policy to commit to in the open.",
        "The guarantee is about behaviour inside the model. It holds for the reactions, the "
        "classifier, the priors and the payoffs as they are given, and says nothing about how "
        "close these are to the world.",
    )


def _held(game: Game, solution: Solution, player: int) -> str:
    _, low, high = spoken(solution, player)
    return (
        f"{game.names.players[player]}: this policy earns at least {low} against any opponent, and "
        f"no policy can guarantee more than {high}."
    )


def _measured(game: Game, solution: Solution) -> tuple[str, ...]:
    gains = [
        f"{name} could gain {number(float(gap))}"
        for name, gap in zip(game.names.players, solution.gap, strict=True)
    ]
    if solution.commitment is not None:
        leader = game.names.players[solution.commitment.leader]
        return (
            f"{leader} commits to this policy before the other side chooses; what that is worth is "
            "said below. The gaps are measured too: with the other side's policy as it is, "
            f"{join(gains)} by another one. A commitment need not be an equilibrium, and a gap is "
            "no fault of it.",
        )
    return (
        "Only the measured gap is claimed. With the other side's policy as it is, "
        f"{join(gains)} by the best change of its own.",
        "Nothing is guaranteed if the other side plays differently from the policy found here, and "
        "other equilibria may be worth more, or less, to either side. For a policy that will be "
        "observed and learned, commitment is the question to ask, and this is not its answer.",
    )
