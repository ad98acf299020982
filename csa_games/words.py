"""Numbers and lists as people read them."""

import math
from collections.abc import Sequence

ROUNDING = 1e-9  # how far a sum of probabilities may be off 1 and still be all of it
MINUS, THIN = "\u2212", "\u202f"
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def percent(share: float | int) -> str:
    """Return a probability in percent: "62 %", "3.2 %", "99.7 %", "<0.1 %"; "–" if it is nan."""
    if math.isnan(share):
        return "–"
    if share <= 0 or share > 1 - ROUNDING:
        return f"{share:.0%}".replace("%", THIN + "%")
    if share < 0.0005:
        return f"<0.1{THIN}%"
    if share > 0.9995:
        return f">99.9{THIN}%"
    digits = 1 if share < 0.0995 or share > 0.9905 else 0
    return f"{100 * share:.{digits}f}{THIN}%"


def number(value: float | int) -> str:
    """Return a number to some four digits: "1.529", "0.00094", "1.4×10⁻⁵", "18,639"."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    size = abs(value)
    if value == int(value) and size < 1e9:
        text = f"{int(value):,}"
    elif size >= 1e6 or size < 1e-4:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    elif size < 0.1:
        text = f"{value:.2g}"
    else:
        text = f"{value:,.3f}" if size < 100 else f"{value:,.1f}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def decimal(value: float | int, digits: int = 3) -> str:
    """Return a payoff with as many digits after the point, "−0.545"; "–" if it is nan."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else f"{0:.{digits}f}"


def join(parts: Sequence[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return "1 row", "40 rows", "18,639 rows"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
