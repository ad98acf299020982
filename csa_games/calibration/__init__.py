"""From labelled conversation logs to a scenario with honest uncertainty.

A log (`csa_games.calibration.log`) is read through a mapping from its labels to the names of a base
scenario (`mapping`), turned into numbers (`codes`), counted in one pass (`counts`), estimated
(`estimates`, `channel`, `kernel`, `mixture`) and written as a scenario again (`fitted`). What users
who choose want is fitted apart (`quantal`). Text of conversations is never needed and never kept.

Letters: N conversations, E events; H turns, T intents, B asks, Y signals, R responses of the base
scenario; K rows of probabilities that are estimated, W the most outcomes of a row.
"""
