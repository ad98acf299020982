"""A game-theoretic response planner for constructive AI safety."""
