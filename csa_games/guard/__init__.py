"""Decide from a bundle, with the standard library alone."""
