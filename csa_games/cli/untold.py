"""What `csa fit` says of what a log does not tell."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from csa_games.cli.output import clean, grid, number, whole

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.calibration.identify import Identifiability
    from csa_games.calibration.latent import Direction

SHOWN = 8


def untold_numbers(untold: "Identifiability") -> dict[str, Any]:
    """Return what `--json` says of it."""
    return {
        "thin": [asdict(row) | {"unmoved": row.unmoved} for row in untold.thin],
        "flat": [asdict(direction) for direction in untold.flat],
        "withheld": untold.withheld,
    }


def show_untold(console: "Console", untold: "Identifiability") -> None:
    """Write the rows that are thin, the widest first, flat directions, and what is withheld."""
    from csa_games.calibration.identify import ENOUGH

    console.print()
    console.print("What the log does not tell", style="bold")
    if untold.thin:
        rows = [
            (
                row.label,
                whole(round(row.n)),
                f"{row.effective:.1f}",
                number(row.width),
                "as wide as before" if row.unmoved else f"{row.width / row.prior_width:.0%}",
            )
            for row in untold.thin[:SHOWN]
        ]
        headings = ("row", "n", "worth", "widest interval", "of the prior's")
        console.print(grid(headings, rows))
        if (more := len(untold.thin) - SHOWN) > 0:
            console.print(f"and {more} more (--json has all)")
    else:
        console.print(f"Every row has {ENOUGH} observations or more, counted as what they tell.")
    for direction in untold.flat:
        console.print(clean(f"The likelihood does not move if together {_spoken(direction)}."))
    for what, why in untold.withheld.items():
        console.print(clean(f"Withheld: {what}, for {why}."))


def _spoken(direction: "Direction") -> str:
    """Return the changes along a direction: "distressed opens plain by +1.00, ..."."""
    return ", ".join(
        f"{row} {outcome} by {amount:+.2f}"
        for row, changes in direction.changes.items()
        for outcome, amount in changes.items()
    )
