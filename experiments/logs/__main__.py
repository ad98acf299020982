"""Write a published log as a case study fits it: `python -m experiments.logs NAME LOG.jsonl.gz`.

Then what `csa fit` makes of it, with the mapping and the base of this folder that are named alike
(to the dash), is what the study fits: NAME.map.toml and NAME.base.toml.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from csa_games.calibration.log import Conversation, write_jsonl
from csa_games.errors import InputError
from experiments.logs import attack, over_refusal, spiral, yielding

CONVERTED: Mapping[str, Callable[[], Iterator[Conversation]]] = {
    "attack": attack.attacks,
    **{
        f"over_refusal-{model}": partial(over_refusal.log_of, model)
        for model in over_refusal.MODELS
    },
    "spiral": spiral.log_of_drafts,
    "yielding": yielding.log_of_drafts,
}
"""By name: what makes a log of a published one."""


def main() -> None:
    """Write the log that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m experiments.logs", description=__doc__)
    parser.add_argument("name", choices=list(CONVERTED))
    parser.add_argument("log", help="the file to write, JSON lines, packed if it ends in .gz")
    args = parser.parse_args()
    try:
        write_jsonl(args.log, CONVERTED[args.name]())
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
