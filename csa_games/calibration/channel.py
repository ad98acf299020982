"""Channels: σ(signal | intent, ask), how often a classifier says what of whom.

Intents and asks that share a channel in the base scenario share it in the fitted one: their signals
are counted together.
"""

from csa_games.calibration.rows import Row
from csa_games.scenario import Scenario


def channel_rows(scenario: Scenario) -> list[Row]:
    """Return a row for each channel of `scenario`."""
    signals = tuple(signal.name for signal in scenario.signals)
    intent = {part.name: i for i, part in enumerate(scenario.intents)}
    ask = {part.name: b for b, part in enumerate(scenario.asks)}
    return [
        Row(
            f"channel[{k}]",
            f"{' or '.join(channel.intents)} asking {' or '.join(channel.asks)}",
            "signal",
            signals,
            tuple(channel.probabilities.get(name, 0.0) for name in signals),
            tuple(intent[name] for name in channel.intents),
            asks=tuple(ask[name] for name in channel.asks),
        )
        for k, channel in enumerate(scenario.channel)
    ]
