"""PIE-Bench: its released layout as cases of the workflow, and the table of its metrics.

``released`` reads the layout, ``sample`` draws a subset, ``cases`` makes cases of it, ``table``
gathers what was measured, ``published`` holds others' numbers. Free of torch. Source of format and
metrics: PIE-Bench (cure-lab/PnPInversion) and the design document "evaluation".
"""
