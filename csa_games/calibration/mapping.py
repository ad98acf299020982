"""The mapping file: what the labels of a log are called in a scenario, and how it was sampled."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csa_games.errors import InputError
from csa_games.scenario import Name, Text
from csa_games.scenario_errors import Expected, sentences

Design = Literal["population", "designed", "filtered"]

Names = dict[
    str,
    Annotated[
        str,
        Field(pattern=r"^([a-z][a-z0-9_]*)?$", max_length=40),
        Expected('a name of the base scenario, or "" for a label that is as good as none'),
    ],
]


Tried = dict[Name, dict[Name, Annotated[int, Field(ge=0, le=10**12)]]]
"""True name -> name that the judge said -> how often."""


class Judge(BaseModel):
    """What a judge, or a classifier, said of things whose label is known.

    All names are those of the base scenario. The things must be like those of the log, label by
    label, and what the judge says must depend on the true label alone.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    asks: Tried = Field(default_factory=dict)
    """Of asks and reactions: corrects openings and reactions. Asks that end the conversation need
    no row; nobody mistakes them."""
    types: Tried = Field(default_factory=dict)
    """Of types: corrects priors, where the log tells them."""


class Mapping(BaseModel):
    """How a log is read. Labels that are mapped to "" are taken as not recorded.

    Where a table of labels is left out, the log uses the names of the base scenario.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    format: Annotated[int, Field(ge=1, le=1), Expected("1")]
    """The version of this format."""
    name: Name
    """What the fitted scenario calls the log among its sources."""
    cite: Text
    """What the log is: where it comes from, when, under which licence."""
    design: Design
    """How conversations came to be in the log: "population" (all conversations of some population,
    or a random sample of them), "designed" (somebody chose who talks: benchmarks, red teams,
    simulated users) or "filtered" (what was said decided: flagged, reported or failed ones). Only a
    population tells how common intents are."""
    cluster: Literal["conversation", "group"] = "conversation"
    """What is drawn independently of each other: conversations, or the groups that they are in."""
    latent: list[Name] = Field(default_factory=list)
    """The intents that conversations without a type may have, at least two of them; with none,
    such conversations are only counted."""
    policy: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    """The policy that the assistant of the log followed, and that users with a choice knew:
    "observed" for what the log itself shows, or the folder of a run or bundle, seen from that of
    the mapping. With none, quantal intents stay as they are."""
    free: list[Literal["satisfaction", "risk"]] = Field(default_factory=list)
    """The weights of quantal intents that are fitted with their rationality; effort, which weighs
    1, and the others give it its unit."""
    judge: Judge | None = None
    """Whose labels the log has, where they are known to be wrong at times."""
    types: Names | None = None
    """Label of a type -> intent."""
    asks: Names | None = None
    """Label of an ask -> ask."""
    signals: Names | None = None
    """Label of a signal -> signal."""
    strategies: Names | None = None
    """Label of a strategy -> response."""
    reactions: Names | None = None
    """Label of a reaction -> the ask that follows, those that end the conversation included; where
    left out, reactions have the labels of asks."""


def read_mapping(path: Path | str) -> Mapping:
    """Return the mapping in the TOML file at `path`; raise `InputError` that names the field."""
    try:
        content = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected a mapping file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    return mapping_from(content, str(path))


def mapping_from(content: object, file: str) -> Mapping:
    """Return the mapping described by `content`, which is TOML parsed; `file` names it.

    Raises `InputError` that names the field.
    """
    try:
        found = Mapping.model_validate(content)
    except ValidationError as error:
        words = [
            f"{file}: {sentence.replace('field of a scenario', 'field of a mapping')}"
            for sentence in sentences(error, content, Mapping)
        ]
        raise InputError(*words) from None
    if len(found.latent) == 1 or len(set(found.latent)) < len(found.latent):
        raise InputError(
            f"{file}: latent: found {', '.join(found.latent)}, expected none or at least two "
            "different intents"
        )
    return found
