"""Hosts that follow a table on localhost, each by one command; nothing leaves the machine.

    python -m csa_games.guard.adapters.examples.litellm
    python -m csa_games.guard.adapters.examples.nemo
    python -m csa_games.guard.adapters.examples.inspect_ai

All use `desk.toml`, a toy scenario with a response for every mechanism, and `keywords.py`, a toy
classifier.
"""
