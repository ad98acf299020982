"""The scenario file: who may be talking, what they may do, and what each outcome is worth.

A scenario is a TOML file that `read_scenario` turns into a checked `Scenario`. Every number in it
names where it comes from: a key of `[sources]`, or the word "assumption", each with an optional
remark after a colon ("guardrails: read off the figure", "assumption: swept in the tests").
"""

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csa_games.errors import InputError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Source = Annotated[str, Field(min_length=1, max_length=400)]
Real = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Probability = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
PerTurn = Real | Annotated[list[Real], Field(min_length=1)]
"""One number for all turns, or one for each."""

Behaviour = Literal["adversarial", "rational", "quantal", "kernel"]
Mechanism = Literal["pass", "text", "steer", "route", "block"]
Evidence = Literal["measured", "derived", "assumption"]

LARGEST_FILE = 1_000_000  # bytes; the built-in scenarios have some 10,000


class _Part(BaseModel):
    """Strict and frozen: nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Citation(_Part):
    """A source: what to look up, and whether its numbers were measured or derived from it."""

    cite: Text
    evidence: Literal["measured", "derived"]


class Quantity(_Part):
    """A number with its source and, where one is known, the interval it lies in."""

    value: Real
    source: Source
    low: Real | None = None
    high: Real | None = None


class Chance(_Part):
    """A probability with its source and, where one is known, the interval it lies in."""

    value: Probability
    source: Source
    low: Probability | None = None
    high: Probability | None = None


class Kernel(_Part):
    """Fixed reaction probabilities: of the first ask, and of the next one after each response."""

    source: Source
    opening: dict[Name, Probability]
    after: dict[Name, dict[Name, Probability]] = Field(default_factory=dict)


class UserWeights(_Part):
    """What a rational or quantal user wants: its payoff is satisfaction and risk, less effort."""

    satisfaction: Real
    risk: Real
    source: Source


class Intent(_Part):
    """A latent type of user."""

    name: Name
    description: Text
    prior: Chance
    behaviour: Behaviour
    asks: Annotated[list[Name], Field(min_length=1)]
    kernel: Kernel | None = None
    weights: UserWeights | None = None
    rationality: Quantity | None = None  # λ of the logit response, in 1/payoff


class Ask(_Part):
    """An observable kind of message; `ends` if it is none but a way to end the conversation."""

    name: Name
    description: Text
    ends: Literal["leave", "migrate"] | None = None


class Signal(_Part):
    """A value of the classifier's verdict, which only the assistant sees."""

    name: Name
    description: Text


class Response(_Part):
    """A response strategy, with what a guard does to carry it out."""

    name: Name
    description: Text
    mechanism: Mechanism
    text: str = ""
    ends: bool = False


class Channel(_Part):
    """σ(signal | intent, ask), the same for all the intents and asks listed."""

    intents: Annotated[list[Name], Field(min_length=1)]
    asks: Annotated[list[Name], Field(min_length=1)]
    probabilities: dict[Name, Probability]
    source: Source


class Cells(_Part):
    """Values by response, for the intents and asks listed (all of them where none are)."""

    values: dict[Name, PerTurn]
    source: Source
    intents: list[Name] | None = None
    asks: list[Name] | None = None


class RiskCells(Cells):
    """Risk by response, 0 harmless to 1 fully harmful, in a hazard category."""

    category: Name


class Displacement(_Part):
    """The harm, in units of ψ, when users of these intents migrate to another service."""

    intents: Annotated[list[Name], Field(min_length=1)]
    value: PerTurn
    source: Source


class Effort(_Part):
    """What asking costs users of these intents, by ask, in their own payoff."""

    intents: Annotated[list[Name], Field(min_length=1)]
    values: dict[Name, PerTurn]
    source: Source


class Category(_Part):
    """A hazard category and how its risk weighs against the others'; β multiplies them all."""

    name: Name
    description: Text
    severity: Quantity


class Payoff(_Part):
    """The named components that payoffs are built from, and split into again by every report."""

    satisfaction: list[Cells]
    risk: list[RiskCells]
    cost: list[Cells]
    displacement: list[Displacement] = Field(default_factory=list)
    effort: list[Effort] = Field(default_factory=list)


class Weights(_Part):
    """The assistant's payoff per turn: α·satisfaction − β·risk − γ·cost − ψ·displacement."""

    alpha: Quantity
    beta: Quantity
    gamma: Quantity
    psi: Quantity


class Fallback(_Part):
    """Where a guard turns when the table has no row it may use.

    `rungs` lists, finest first, the features of the state that a coarser row keeps; `response` is
    the constant below them all.
    """

    rungs: list[Annotated[list[Literal["turn", "ask", "signal"]], Field(min_length=1)]]
    response: Name


class Baselines(_Part):
    """What plain policies do here.

    The response that complies, the one that refuses, and the one that each signal leads to under a
    threshold rule.
    """

    comply: Name
    refuse: Name
    threshold: dict[Name, Name]


class Scenario(_Part):
    """A checked scenario. Lists keep the order of the file."""

    format: Literal[1]
    name: Name
    title: Text
    question: Text
    notes: str = ""
    turns: Annotated[int, Field(ge=1, le=50)]
    discount: Chance
    sources: dict[Name, Citation]
    weights: Weights
    intents: Annotated[list[Intent], Field(min_length=1)]
    asks: Annotated[list[Ask], Field(min_length=1)]
    signals: Annotated[list[Signal], Field(min_length=1)]
    responses: Annotated[list[Response], Field(min_length=1)]
    categories: Annotated[list[Category], Field(min_length=1)]
    channel: Annotated[list[Channel], Field(min_length=1)]
    payoff: Payoff
    fallback: Fallback
    baselines: Baselines


def builtin_scenarios() -> dict[str, Path]:
    """Return the built-in scenarios, name -> file."""
    folder = Path(str(resources.files("csa_games") / "scenarios"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_scenario(path: Path | str) -> Scenario:
    """Return the scenario in the TOML file at `path`.

    Raises `InputError` with one sentence per fault (file, field, what was found, what was
    expected): a file that cannot be read or is larger than 1 MB, text that is not TOML, wrong
    types, unknown or missing fields and names, numbers out of range, probabilities that do not sum
    to 1, cells that are missing or given twice.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(
                f"{path}: the file has {size:,} bytes, expected at most {LARGEST_FILE:,}"
            )
        return parse_scenario(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_scenario(text: bytes, file: str) -> Scenario:
    """Return the scenario written in TOML in `text`; `file` names it in errors."""
    try:
        content = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: byte {error.start} is not UTF-8 text, expected a TOML file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a TOML file: {error}") from None
    return scenario_from(content, file)


def scenario_from(content: dict[str, Any], file: str) -> Scenario:
    """Return the scenario described by the parsed TOML (or JSON) in `content`."""
    # Imported here: the checks are written against the types of this module.
    from csa_games.scenario_checks import faults

    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        _raise(file, list(_sentences(error)))
    found = list(faults(scenario))
    if found:
        _raise(file, found)
    return scenario


MOST_FAULTS = 20  # further ones are counted, not listed


def _raise(file: str, found: list[str]) -> NoReturn:
    listed = [f"{file}: {fault}" for fault in found[:MOST_FAULTS]]
    if len(found) > MOST_FAULTS:
        listed.append(f"{file}: and {len(found) - MOST_FAULTS} further faults")
    raise InputError(*listed)


def _sentences(error: ValidationError) -> Iterator[str]:
    """Yield one sentence per fault that pydantic found: field, what was found, what expected."""
    for fault in error.errors(include_url=False):
        where = _field(fault["loc"])
        match fault["type"]:
            case "missing":
                yield f"{where}: is missing"
            case "extra_forbidden":
                yield f"{where}: is not a field of a scenario"
            case _:
                yield f"{where}: found {_short(fault['input'])}, expected: {fault['msg']}"


def _field(location: tuple[int | str, ...]) -> str:
    """Spell a pydantic location: intents[2].prior.value."""
    spelled = ""
    for part in location:
        if isinstance(part, int):
            spelled += f"[{part}]"
        elif part not in ("float", "constrained-float", "list[constrained-float]"):
            spelled += f".{part}" if spelled else str(part)
    return spelled or "the file"


def _short(value: object) -> str:
    spelled = repr(value)
    return spelled if len(spelled) <= 60 else spelled[:57] + "..."


def citation_key(source: str) -> str:
    """Return what stands before the colon of a source: a key of `[sources]` or "assumption"."""
    return source.split(":", 1)[0].strip()


def evidence(scenario: Scenario, source: str) -> Evidence:
    """Return whether the numbers under `source` are measured, derived or an assumption."""
    key = citation_key(source)
    return "assumption" if key == "assumption" else scenario.sources[key].evidence


def override(scenario: Scenario, changes: dict[str, Any]) -> Scenario:
    """Return `scenario` with numbers replaced, checked again.

    A key is a dotted path that names list entries by their name or position, such as
    "weights.beta", "intents.malicious.prior", "channel.3.probabilities" or "turns"; a quantity
    takes the number and notes in its source that it was overridden. Raises `InputError` for a path
    that leads nowhere, and for a result that is no scenario.
    """
    content = scenario.model_dump(mode="json", exclude_none=True)
    for path, value in changes.items():
        *above, last = path.split(".")
        part: Any = content
        for name in above:
            part = _step(part, name, path)
        target = _step(part, last, path)
        if isinstance(target, dict) and "value" in target and not isinstance(value, dict):
            source = "assumption: overridden, was " + str(target["value"])
            value = {"value": value, "source": source}
        if isinstance(part, list):
            part[_position(part, last, path)] = value
        else:
            part[last] = value
    return scenario_from(content, f"{scenario.name} with {', '.join(changes)} overridden")


def _step(part: Any, name: str, path: str) -> Any:
    if isinstance(part, list):
        return part[_position(part, name, path)]
    if not isinstance(part, dict) or name not in part:
        raise InputError(f"{path}: a scenario has no {name!r} there")
    return part[name]


def _position(part: list[Any], name: str, path: str) -> int:
    for k, entry in enumerate(part):
        if (isinstance(entry, dict) and entry.get("name") == name) or str(k) == name:
            return k
    raise InputError(f"{path}: a scenario has no {name!r} there")


def with_prior(scenario: Scenario, intent: str, probability: float) -> Scenario:
    """Return `scenario` with one intent's prior set, the others scaled to keep their ratios."""
    priors = {part.name: part.prior.value for part in scenario.intents}
    if intent not in priors or not 0 <= probability <= 1 or priors[intent] == 1:
        raise InputError(f"no prior {probability} can be given to {intent!r} of {list(priors)}")
    scale = (1 - probability) / (1 - priors[intent])
    scaled = {name: p * scale for name, p in priors.items() if name != intent}
    changed = scaled | {intent: probability}
    return override(scenario, {f"intents.{name}.prior": p for name, p in changed.items()})
