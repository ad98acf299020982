"""Case studies: what four published logs of conversations tell, and what they do not.

Each ends in a scenario that is fitted by what `csa fit` does, a policy that is robust to what was
left open, and a page. The logs are no part of the project: see `experiments.logs.source`.
"""
