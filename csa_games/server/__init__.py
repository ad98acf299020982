"""The guard as an HTTP server: it listens, and never calls out. Needs the extra `serve`.

    deployment = Deployment("bundles/current", secret=secret)
    serve(app(deployment), port=8080)

`csa guard serve BUNDLE` does this from the command line. Everything here is about HTTP; what is
decided comes from `csa_games.guard`, and what gateways send from `csa_games.guard.adapters`.
"""

from csa_games.server.app import app
from csa_games.server.gate import Gate, Limits
from csa_games.server.run import serve

__all__ = ["Gate", "Limits", "app", "serve"]
