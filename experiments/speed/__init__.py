"""How fast: our engine against the solvers that a researcher could install instead."""
