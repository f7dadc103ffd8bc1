"""How good an edit is: the benchmark's metrics as its own evaluator computes them, and ours.

A module a metric, each a plain function or a small model on arrays; ``canvas`` brings pictures and
masks to what they are computed on, ``scorer`` holds the models that are there. Definitions follow
docs/evaluation.md and the evaluator published with PIE-Bench (cure-lab/PnPInversion).
"""
