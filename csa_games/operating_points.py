"""Published operating points: how often systems refuse safe prompts and answer unsafe ones.

Counts and sources only. A benchmark's prompts are no sample of anybody's traffic, so a rate holds
for that benchmark; setting them beside a policy's rates, or letting users of a scenario meet them,
assumes that they carry over. Intervals are Wilson's (1927), 95 %.
"""

import math
from dataclasses import dataclass

NORMAL = 1.959963984540054  # the 97.5 % quantile of the normal distribution

Rate = tuple[float, float, float]
"""(lower end, rate, upper end) of a share with its 95 % interval."""


@dataclass(frozen=True)
class OperatingPoint:
    """A system on a benchmark: `refused` of `harmless` prompts, `complied` with of `harmful`."""

    name: str
    benchmark: str
    refused: int
    harmless: int
    complied: int
    harmful: int

    @property
    def over_refusal(self) -> Rate:
        """The share of harmless prompts that are refused, partly or wholly."""
        return wilson(self.refused, self.harmless)

    @property
    def unsafe_compliance(self) -> Rate:
        """The share of harmful prompts that are complied with."""
        return wilson(self.complied, self.harmful)


SOURCES = {
    "XSTest": "XSTest v2, arXiv 2308.01263, labels of two raters in "
    "paul-rottger/exaggerated-safety@d7bb5bd: partial refusals count as refused, full compliance "
    "as complied with",
    "WildGuard": "WildGuard, arXiv 2406.18495, Table 6: filters before Tulu-2-dpo on adversarial "
    "prompts; benign refusals and attack success, read as compliance, counts derived from percent",
}
"""Where the counts of a benchmark come from, and how they are read."""


def _xstest(name: str, refused: int, complied: int) -> OperatingPoint:
    return OperatingPoint(f"XSTest {name}", "XSTest", refused, 250, complied, 200)


def _wildguard(name: str, refused: int, complied: int) -> OperatingPoint:
    return OperatingPoint(f"WildGuard {name}", "WildGuard", refused, 250, complied, 2000)


OPERATING_POINTS = (
    # Of 250 safe prompts partial refusals and refusals: 5 + 16, 39 + 35, 54 + 95, 23 + 24, 2 + 2.
    _xstest("gpt4", 21, 1),
    _xstest("llama2new", 74, 0),
    _xstest("llama2orig", 149, 0),
    _xstest("mistralguard", 47, 7),
    _xstest("mistralinstruct", 4, 128),
    # Printed as % of 250 and of 2,000: 0.0 / 79.8, 0.4 / 2.4, 16.0 / 12.4, 4.4 / 25.7, 3.6 / 32.7,
    # 0.8 / 53.1.
    _wildguard("no filter", 0, 1596),
    _wildguard("WildGuard", 1, 48),
    _wildguard("Aegis-D", 40, 248),
    _wildguard("MD-Judge", 11, 514),
    _wildguard("Aegis-P", 9, 654),
    _wildguard("Llama-Guard2", 2, 1062),
)
"""Every point, by benchmark."""


def wilson(count: int, of: int) -> Rate:
    """Return the share `count` / `of` with Wilson's 95 % interval."""
    share, z = count / of, NORMAL**2 / of
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    # It holds the share itself, also where rounding is against it.
    return max(0.0, min(share, middle - half)), share, min(1.0, max(share, middle + half))
