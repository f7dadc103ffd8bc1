"""Metrics of edit quality: those of PIE-Bench, as its own evaluator computes them, and our own.

Each metric has a module, with a plain function or a small model that takes arrays. ``canvas``
converts pictures and masks to the size that metrics are computed on. ``scorer`` computes the
metrics whose models are available. The definitions are in docs/evaluation.md and follow the
evaluator published with PIE-Bench (cure-lab/PnPInversion).
"""
