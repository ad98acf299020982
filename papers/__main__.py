"""All papers: `python -m papers`, with `--quick`, `--report` or `--check`."""

import sys

from csa_games.files import write_file
from papers.catalogue import INDEX, PAPERS, index
from papers.paper import run


def main() -> int:
    """Do what the command line asks for with all papers, and with their index."""
    code = run(list(PAPERS.values()))
    if "--check" in sys.argv:
        if INDEX.read_text(encoding="utf-8") != index():
            sys.stdout.write("README.md is not what the results in the tree give\n")
            return 1
    elif "--quick" not in sys.argv:
        write_file(INDEX, index().encode())
    return code


if __name__ == "__main__":
    raise SystemExit(main())
