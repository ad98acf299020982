"""Solvers over the sequence form: the CFR family, best response, exact linear programs."""
