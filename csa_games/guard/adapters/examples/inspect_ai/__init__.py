"""An evaluation in Inspect: what a table does on a dataset, with a mock model behind it."""
