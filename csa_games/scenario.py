"""The scenario file: who may be talking, what they may do, and what each outcome is worth.

A scenario is a TOML file that `read_scenario` turns into a checked `Scenario`. Every number in it
names where it comes from: a key of `[sources]`, or the word "assumption", each with an optional
remark after a colon ("guardrails: read off the figure", "assumption: swept in the tests").

The text under each field below is its description in the JSON Schema.
"""

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csa_games.errors import InputError
from csa_games.guard.certificate import MOST_TURNS
from csa_games.scenario_errors import Expected, sentences

MOST_NAMES = 32  # intents, asks, signals, responses: each

Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40),
    Expected("a name: a-z, 0-9 and _, a letter first, at most 40 characters"),
]
Label = Annotated[
    str, Field(min_length=1, max_length=100), Expected("a label of 1 to 100 characters")
]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Source = Annotated[str, Field(min_length=1, max_length=400)]

Real = Annotated[
    float,
    Field(allow_inf_nan=False, ge=-1e6, le=1e6),
    Expected("a number from -1000000 to 1000000"),
]
NonNegative = Annotated[
    float,
    Field(allow_inf_nan=False, ge=0, le=1e6),
    Expected("a number from 0 to 1000000"),
]
Probability = Annotated[
    float, Field(allow_inf_nan=False, ge=0, le=1), Expected("a number from 0 to 1")
]
PerTurn = Annotated[
    Real | Annotated[list[Real], Field(min_length=1)],
    Expected("a number from -1000000 to 1000000, or a list of them, one for each turn"),
]
SharePerTurn = Annotated[
    Probability | Annotated[list[Probability], Field(min_length=1)],
    Expected("a number from 0 to 1, or a list of them, one for each turn"),
]

T = TypeVar("T")
Some = Annotated[list[T], Field(min_length=1, max_length=MOST_NAMES)]
Distribution = Annotated[dict[Name, Probability], Field(min_length=1)]
DistributionPerTurn = Annotated[
    Distribution | Annotated[list[Distribution], Field(min_length=1)],
    Expected("probabilities by name, or a list of such tables, one for each turn"),
]

Ends = dict[Name, Probability]
EndsPerTurn = Annotated[
    Ends | list[Ends],
    Expected("ends of intervals by name, or a list of such tables, one for each turn"),
]

Behaviour = Literal["adversarial", "rational", "quantal", "kernel"]
Mechanism = Literal["pass", "text", "steer", "route", "block"]
Evidence = Literal["measured", "derived", "assumption"]


class _Part(BaseModel):
    # Strict and frozen: nothing is coerced, nothing unknown is let through.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class Citation(_Part):
    """A source of numbers."""

    cite: Text
    """What to look up, and what it says."""
    evidence: Literal["measured", "derived"]
    """Whether the numbers stand in the source, or were derived from what does."""


class Quantity(_Part):
    """A number with its source and, where one is known, the interval it lies in."""

    value: Real
    """The number."""
    source: Source
    """Where the number comes from: a key of sources or "assumption"; a remark after a colon."""
    low: Real | None = None
    """Where the interval of the number begins."""
    high: Real | None = None
    """Where the interval of the number ends."""


class Weight(Quantity):
    """A number that is not negative, with its source and interval."""

    value: NonNegative
    """The number."""


class Chance(Quantity):
    """A probability with its source and interval."""

    value: Probability
    """The probability."""
    low: Probability | None = None
    """Where the interval of the probability begins."""
    high: Probability | None = None
    """Where the interval of the probability ends."""


class KernelEnds(_Part):
    """Where intervals of a kernel's probabilities begin, or where they end.

    It has the tables of the kernel, those of them that are needed. An end that is left out is the
    probability itself.
    """

    opening: Ends = Field(default_factory=dict)
    """Of the first ask: ends by ask."""
    after: dict[Name, EndsPerTurn] = Field(default_factory=dict)
    """Of the next ask after a response: ends by ask, or as many such tables as the kernel has."""


class Kernel(_Part):
    """Reaction probabilities of users who do not optimise."""

    opening: Distribution
    """The first ask: probabilities by ask."""
    after: dict[Name, DistributionPerTurn] = Field(default_factory=dict)
    """The next ask after each response that goes on: probabilities by ask, or a list of them, one
    for each turn that the response may be given in but the last."""
    low: KernelEnds | None = None
    """Where the intervals of the probabilities begin."""
    high: KernelEnds | None = None
    """Where the intervals of the probabilities end."""
    source: Source
    """Where the probabilities come from."""


class UserWeights(_Part):
    """What a rational or quantal user wants: satisfaction and risk so weighed, less effort."""

    satisfaction: Real
    """Payoff per unit of satisfaction."""
    risk: Real
    """Payoff per unit of risk, whatever the severity of its category."""
    source: Source
    """Where the weights come from."""


class Intent(_Part):
    """A latent type of user."""

    name: Name
    """How the rest of the file calls it."""
    description: Text
    """Who this is, in a sentence."""
    prior: Chance
    """The probability that a conversation is with such a user; all priors sum to 1."""
    behaviour: Behaviour
    """How it picks its asks: against the assistant, for itself, for itself with logit noise, or
    by fixed probabilities."""
    asks: Some[Name]
    """What it may ask; at least one that does not end the conversation."""
    kernel: Kernel | None = None
    """For behaviour "kernel": the reaction probabilities."""
    weights: UserWeights | None = None
    """For behaviours "rational" and "quantal": its own payoff."""
    rationality: Quantity | None = None
    """For behaviour "quantal": λ of the logit response, in 1/payoff, above 0."""


class Ask(_Part):
    """An observable kind of message, or a way to end the conversation."""

    name: Name
    """How the rest of the file calls it."""
    description: Text
    """What such a message is, in a sentence."""
    ends: Literal["leave", "migrate"] | None = None
    """Whether it ends the conversation, by leaving or by turning to another service."""


class Signal(_Part):
    """A verdict of the classifier, which only the assistant sees."""

    name: Name
    """How the rest of the file calls it."""
    description: Text
    """What the verdict says, in a sentence."""


class Response(_Part):
    """A response strategy."""

    name: Name
    """How the rest of the file calls it."""
    description: Text
    """What the strategy is, in a sentence."""
    mechanism: Mechanism
    """What a guard does: pass the model's answer, send the text, steer the model with the text,
    route to a person, or block."""
    text: Annotated[str, Field(max_length=4000)] = ""
    """What a guard sends, or steers the model with."""
    ends: bool = False
    """Whether it ends the conversation."""


class Channel(_Part):
    """σ(signal | intent, ask), the same for all the intents and asks listed."""

    intents: Some[Name]
    """The intents it holds for."""
    asks: Some[Name]
    """The asks it holds for."""
    probabilities: Distribution
    """Probabilities by signal; a signal left out has none."""
    low: Ends | None = None
    """Where the intervals of the probabilities begin, by signal; where left out, at the value."""
    high: Ends | None = None
    """Where the intervals of the probabilities end, by signal; where left out, at the value."""
    source: Source
    """Where the probabilities come from."""


class Cells(_Part):
    """Values by response, for the intents and asks listed.

    A list with a number for each turn may be longer than the conversation, which then ends before
    the list does.
    """

    intents: Some[Name] | None = None
    """The intents they hold for; all where left out."""
    asks: Some[Name] | None = None
    """The asks they hold for; all where left out."""
    values: Annotated[dict[Name, PerTurn], Field(min_length=1)]
    """A number by response, or one for each turn."""
    low: dict[Name, PerTurn] | None = None
    """Where the intervals of the values begin, by response; one number, or one for each turn."""
    high: dict[Name, PerTurn] | None = None
    """Where the intervals of the values end, by response; one number, or one for each turn."""
    source: Source
    """Where the numbers come from."""


class RiskCells(Cells):
    """Risk by response, for the intents and asks listed, in a hazard category."""

    category: Name
    """The hazard category, whose severity multiplies the risk."""
    values: Annotated[dict[Name, SharePerTurn], Field(min_length=1)]
    """Risk by response, 0 harmless to 1 fully harmful, or one number for each turn."""
    low: dict[Name, SharePerTurn] | None = None
    """Where the intervals of the risks begin, by response; one number, or one for each turn."""
    high: dict[Name, SharePerTurn] | None = None
    """Where the intervals of the risks end, by response; one number, or one for each turn."""


class Displacement(_Part):
    """The harm when users of the intents listed migrate to another service."""

    intents: Some[Name]
    """The intents it holds for."""
    value: PerTurn
    """The harm in units of ψ, or one number for each turn."""
    low: PerTurn | None = None
    """Where the interval of the harm begins; one number, or one for each turn."""
    high: PerTurn | None = None
    """Where the interval of the harm ends; one number, or one for each turn."""
    source: Source
    """Where the number comes from."""


class Effort(_Part):
    """What asking costs users of the intents listed, in their own payoff."""

    intents: Some[Name]
    """The intents it holds for."""
    values: Annotated[dict[Name, PerTurn], Field(min_length=1)]
    """A cost by ask, or one number for each turn."""
    source: Source
    """Where the numbers come from."""


class Category(_Part):
    """A hazard category."""

    name: Name
    """How the rest of the file calls it."""
    description: Text
    """What it covers, in a sentence."""
    severity: Weight
    """How its risk weighs against that of the other categories; β multiplies them all."""


MOST_CELLS = 256
Groups = Annotated[list[T], Field(max_length=MOST_CELLS)]


class Payoff(_Part):
    """The components that payoffs are built from, and split into again by every report.

    Each must have one value for every intent, ask and response that can meet.
    """

    satisfaction: Groups[Cells]
    """What the user gets out of a response."""
    risk: Groups[RiskCells]
    """What harm a response may do."""
    cost: Groups[Cells]
    """What a response costs the platform."""
    displacement: Groups[Displacement] = Field(default_factory=list)
    """What harm migrating does; for every intent that may migrate."""
    effort: Groups[Effort] = Field(default_factory=list)
    """What asking costs the user; for every intent with a payoff of its own."""


class Weights(_Part):
    """The assistant's payoff per turn: α·satisfaction − β·risk − γ·cost − ψ·displacement."""

    alpha: Weight
    """α, what satisfaction is worth."""
    beta: Weight
    """β, what risk weighs."""
    gamma: Weight
    """γ, what cost weighs."""
    psi: Weight
    """ψ, what displacement weighs."""


class Fallback(_Part):
    """Where a guard turns when the table has no row it may use."""

    rungs: Annotated[list[Some[Literal["turn", "ask", "signal"]]], Field(max_length=7)]
    """Finest first, the features of the state that a coarser row keeps."""
    response: Name
    """The constant response below all rungs."""


class Baselines(_Part):
    """What plain policies do, for comparison."""

    comply: Name
    """The response that always complies."""
    refuse: Name
    """The response that always refuses."""
    threshold: Annotated[dict[Name, Name], Field(min_length=1)]
    """The response to each signal of a rule that looks at nothing else."""


class Reader(_Part):
    """How what a classifier emits becomes one of the signals, or of the asks.

    A score is cut at edges, a label looked up, of a distribution over choices the likeliest taken:
    a classifier's probabilities carry a prior of its own, so they are quantised, never believed.
    """

    name: Name
    """How hosts call it."""
    gives: Literal["signal", "ask"]
    """What it gives a name of."""
    kind: Literal["score", "label", "choice"]
    """What the classifier emits: a number, a label, or a probability for each of several labels."""
    edges: Annotated[list[Real], Field(min_length=1, max_length=MOST_NAMES)] | None = None
    """For kind "score": where the names change, ascending; a score at an edge is above it."""
    names: Some[Name] | None = None
    """For kind "score": the names from the lowest scores to the highest, one more than edges."""
    least: Real | None = None
    """For kind "score": the least score that there is, 0 where left out."""
    most: Real | None = None
    """For kind "score": the highest score that there is, 1 where left out."""
    labels: Annotated[dict[Label, Name], Field(min_length=1)] | None = None
    """For kinds "label" and "choice": the name of each label."""
    sure: Probability | None = None
    """For kind "choice": the least probability that counts as a choice, 0 where left out."""
    otherwise: Name | None = None
    """For kind "choice": the name where no label is that likely, or several tie."""
    refusal: Name | None = None
    """The name where the classifier refused to answer; where left out, that is a missing signal."""
    source: Source
    """Where the edges and labels come from."""


class Scenario(_Part):
    """A response-planning problem: latent intents, what they may do, and what outcomes cost."""

    format: Annotated[int, Field(ge=1, le=1), Expected("1")]  # a Literal[1] would take true
    """The version of this format."""
    name: Name
    """The name of the scenario."""
    title: Text
    """The name that people read."""
    question: Text
    """What solving the scenario answers."""
    notes: str = ""
    """What a reader should know before believing a result."""
    turns: Annotated[
        int, Field(ge=1, le=MOST_TURNS), Expected(f"a whole number from 1 to {MOST_TURNS}")
    ]
    """H, the most turns of a conversation."""
    discount: Chance
    """δ, what a turn is worth against the one before."""
    sources: dict[Name, Citation]
    """Where numbers come from, by the key that their sources name."""
    weights: Weights
    """What the assistant wants."""
    intents: Some[Intent]
    """Who may be talking."""
    asks: Some[Ask]
    """What users may do."""
    signals: Some[Signal]
    """What the classifier may say."""
    responses: Some[Response]
    """What the assistant may do."""
    categories: Annotated[list[Category], Field(min_length=1, max_length=MOST_CELLS)]
    """The hazard categories that risk is given in."""
    channel: Annotated[list[Channel], Field(min_length=1, max_length=MOST_CELLS)]
    """How signals depend on intent and ask."""
    payoff: Payoff
    """What outcomes are worth."""
    readers: Annotated[list[Reader], Field(max_length=MOST_NAMES)] = Field(default_factory=list)
    """How a guard reads classifiers."""
    fallback: Fallback
    """What a guard does where the table has no answer."""
    baselines: Baselines
    """The plain policies that a solution is compared with."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file.

    It covers types and ranges; what names and probabilities must satisfy together is checked by
    `read_scenario` alone. `csa schema > csa_games/scenarios/schema.json` writes the file that
    editors read; a test says when it is out of date.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(),
    }


def builtin_scenarios() -> dict[str, Path]:
    """Return the built-in scenarios, name -> file."""
    folder = Path(str(resources.files("csa_games") / "scenarios"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


LARGEST_FILE = 1_000_000  # bytes; the built-in scenarios have some 15,000


def read_scenario(path: Path | str) -> Scenario:
    """Return the scenario in the TOML file at `path`.

    Raises `InputError` with one sentence per fault (file, field, what was found, what was
    expected): a file that cannot be read or is larger than 1 MB, text that is not TOML, wrong
    types, unknown or missing fields and names, numbers out of range, probabilities that do not sum
    to 1, cells that are missing or given twice.
    """
    try:
        with open(path, "rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected a scenario file"
        ) from None
    except ValueError:  # what Python says of a null character
        raise InputError(f"{str(path)!r}: is not the name of a file") from None
    if len(text) > LARGEST_FILE:
        raise InputError(
            f"{path}: found more than {LARGEST_FILE:,} bytes, expected a scenario of at most that"
        )
    return parse_scenario(text, str(path))


# tomllib needs time that is quadratic in the parts of a dotted key: a.a.a. ... over a megabyte
# takes hours. Nothing in a scenario is nested deeper than six tables.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){40}""")


def parse_scenario(text: bytes, file: str) -> Scenario:
    """Return the scenario written in TOML in `text`; `file` names it in errors."""
    try:
        decoded = text.decode("utf-8-sig")
        if deep := _DEEP_KEY.search(decoded):
            line = decoded.count("\n", 0, deep.start()) + 1
            raise ValueError(f"Key of more than 40 parts (at line {line})")
        content = tomllib.loads(decoded)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: found byte {error.start} that is not UTF-8 text, expected a TOML file"
        ) from None
    except RecursionError:
        raise InputError(f"{file}: not a TOML file that can be read: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{file}: not a TOML file: {error}") from None
    if not content:
        raise InputError(f"{file}: found nothing in it, expected a scenario")
    return scenario_from(content, file)


def scenario_from(content: Any, file: str) -> Scenario:
    """Return the scenario described by `content`, which is TOML or JSON parsed."""
    # Imported here: the checks are written against the types of this module.
    from csa_games.scenario_checks import faults

    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        raise _input_error(file, list(sentences(error, content, Scenario))) from None
    if found := list(faults(scenario)):
        raise _input_error(file, found)
    return scenario


MOST_FAULTS = 20  # further ones are counted, not listed


def _input_error(file: str, found: list[str]) -> InputError:
    listed = [f"{file}: {fault}" for fault in found[:MOST_FAULTS]]
    if len(found) > MOST_FAULTS:
        listed.append(f"{file}: and {len(found) - MOST_FAULTS} further faults")
    return InputError(*listed)


def citation_key(source: str) -> str:
    """Return what stands before the colon of a source: a key of `[sources]` or "assumption"."""
    return source.split(":", 1)[0].strip()


def evidence(scenario: Scenario, source: str) -> Evidence:
    """Return whether the numbers under `source` are measured, derived or an assumption."""
    key = citation_key(source)
    return "assumption" if key == "assumption" else scenario.sources[key].evidence
