"""All papers by name, and the index of them."""

from papers import (
    bagwell_1995,
    battleship,
    cfr_curves,
    kamenica_gentzkow_2011,
    kim_sandholm_2026,
    oyster_1,
    strata_sword,
    von_stengel_forges_2008,
)
from papers.paper import FOLDER, Paper, read, table

PAPERS: dict[str, Paper] = {
    module.PAPER.name: module.PAPER
    for module in (
        oyster_1,
        cfr_curves,
        battleship,
        bagwell_1995,
        von_stengel_forges_2008,
        kamenica_gentzkow_2011,
        strata_sword,
        kim_sandholm_2026,
    )
}

INDEX = FOLDER / "README.md"


def index() -> str:
    """Return the index in Markdown, from the results in the tree."""
    rows = []
    for name, paper in PAPERS.items():
        claims = paper.claims(read(paper)["measured"])
        agree = sum(claim.agrees for claim in claims)
        rows.append(
            (
                f"[{paper.title}]({name})",
                f"{agree} of {len(claims)}",
                f"{sum(claim.explained for claim in claims) - agree}",
                f"`{paper.command}`",
            )
        )
    parts = (
        "# papers",
        "One folder per published result: the claim, where it stands, our command, their number, "
        "our number, and whether they agree. Numbers in these folders are written by commands, "
        "never typed, and whether they agree is computed. `results.json` has every number of ours "
        "with the commit, versions and hardware it was made with.",
        table(("result", "claims that agree", "differ for a known reason", "command"), rows),
        "`python -m papers` makes them all, `python -m papers --report` writes the pages again "
        "from the results in the tree, and `python -m papers --check` says whether the pages are "
        "what the results give. Some commands compare with published data that is not part of this "
        "repository; without it they say so and leave what is there.",
    )
    return "\n\n".join(parts) + "\n"
