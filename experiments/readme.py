"""Write the numbers of README.md from the results in the tree: `python -m experiments.readme`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.foundation import read_results

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def with_results(text: str, results: Mapping[str, Any]) -> str:
    """Return the README `text` with what stands between the marks made anew from `results`."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{section(results)}\n{END}{after}"


def section(results: Mapping[str, Any]) -> str:
    """Return the section of results, in Markdown."""
    made = results["provenance"]
    packages = made["packages"]
    lines = [
        "## Results",
        "",
        f"Measured by `{results['command']}` at commit `{made['git']['commit'][:10]}` on "
        f"{made['cores']} cores ({made['platform']}), Python {made['python']}, "
        f"jax {packages['jax']}, OpenSpiel {packages['open_spiel']}.",
        "",
        "| game | value, published | value by linear program | exploitability of CFR+ after "
        f"{results['known games'][0]['steps']:,} iterations, published | ours | of PCFR+, ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["known games"]:
        found = row["exploitability"]
        lines.append(
            f"| `{row['game']}` | {row['published']:.10g} | {row['linear program']:.10g} | "
            f"{row['published exploitability of cfr+']:.3e} | {found['cfr+']:.3e} | "
            f"{found['pcfr+']:.3e} |"
        )
    lines += [
        "",
        "Leduc's trajectories are chaotic: the order of summation alone moves late values.",
    ]
    for row in results["scenarios"]:
        lines += ["", *_scenario(row)]
    return "\n".join(lines)


def _scenario(row: Mapping[str, Any]) -> list[str]:
    verified = "verifies" if row["bundle verifies"] else "DOES NOT VERIFY"
    lines = [
        f"`{row['scenario']}` ({row['class']} class, {row['histories']:,} histories, "
        f"{row['infosets'][1]:,} infosets of the assistant): NashConv {row['nash_conv']:.2e} after "
        f"{row['steps']:,} iterations of PCFR+ (OpenSpiel's best response finds "
        f"{row['nash_conv by OpenSpiel']:.2e}); value {row['value']:.4f}, by exact linear program "
        f"{row['value by linear program']:.4f}; its bundle {verified}. What each policy guarantees "
        "the assistant against users who answer it at their worst:",
        "",
        "| " + " | ".join(row["guaranteed"]) + " |",
        "|" + "---|" * len(row["guaranteed"]),
        "| " + " | ".join(f"{value:.3f}" for value in row["guaranteed"].values()) + " |",
    ]
    return lines


if __name__ == "__main__":
    README.write_text(
        with_results(README.read_text(encoding="utf-8"), read_results()), encoding="utf-8"
    )
