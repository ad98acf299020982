"""Published results, checked again: one module and one folder for each.

`python -m papers.NAME` measures again and writes `papers/NAME/`: `results.json`, every number with
its provenance, and made from it a README and pictures with their data. `python -m papers` does so
for all, `python -m papers --check` says whether what is in the tree agrees with its results.
"""
