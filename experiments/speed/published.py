"""Timings that others published, to stand beside ours; nothing here was measured by us.

Machines, orders of update and dtypes differ, so these are marks to see by and not a race.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Milliseconds per iteration, by game."""

    name: str
    about: str
    ms: dict[str, float]


# Li & Huang, arXiv 2609.11923v1, Table 3: CFR+, simultaneous, linear average, float32 with strategy
# sums in float64; medians of 1,000 iterations; LiteEFG there is vanilla CFR in float64.
GPU_CFR = "GPU-CFR (arXiv 2609.11923v1, Table 3)"

# Kim & Sandholm, arXiv 2605.14277, data of the repository uoftcprg/noregret at 4192ed4 (MIT):
# vanilla CFR, alternating; the hardware is not named.
KIM = "Kim & Sandholm 2026 (arXiv 2605.14277, data at 4192ed4)"

PUBLISHED = (
    Published(
        "GPU-CFR, A100",
        f"{GPU_CFR}: CFR+, simultaneous, float32, one graph",
        {"kuhn": 0.113, "leduc": 0.304, "goofspiel_5": 0.245, "liars_dice_6": 0.556},
    ),
    Published(
        "GPU-CFR, 8 CPU threads",
        f"{GPU_CFR}: the same dataflow on 2x Xeon Gold 6348",
        {"kuhn": 0.177, "leduc": 0.612, "goofspiel_5": 0.765, "liars_dice_6": 4.378},
    ),
    Published(
        "LiteEFG, by GPU-CFR's authors",
        f"{GPU_CFR}: vanilla CFR, simultaneous, float64, one CPU thread",
        {"kuhn": 0.008, "leduc": 1.233, "goofspiel_5": 3.375, "liars_dice_6": 102.880},
    ),
    Published(
        "Kim & Sandholm, GPU",
        f"{KIM}: vanilla CFR, alternating, sequence form with cupy",
        {
            "kuhn": 14.265,
            "leduc": 25.246,
            "liars_dice_6": 38.636,
            "battleship_tiny": 24.176,
            "battleship_small": 25.712,
        },
    ),
    Published(
        "Kim & Sandholm, CPU",
        f"{KIM}: the same code with scipy",
        {
            "kuhn": 0.791,
            "leduc": 51.384,
            "liars_dice_6": 1312.736,
            "battleship_tiny": 648.776,
            "battleship_small": 13058.840,
        },
    ),
    Published(
        "OpenSpiel C++, by Kim & Sandholm",
        f"{KIM}: vanilla CFR, alternating",
        {
            "kuhn": 0.0392,
            "leduc": 13.431,
            "liars_dice_6": 60.871,
            "battleship_tiny": 168.437,
            "battleship_small": 5378.962,
        },
    ),
)
