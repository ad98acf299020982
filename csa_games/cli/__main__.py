"""`python -m csa_games.cli` is `csa`."""

import sys

from csa_games.cli import main

sys.exit(main())
