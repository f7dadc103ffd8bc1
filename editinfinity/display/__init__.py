"""What a person at a terminal sees while the workflow runs: which jobs, how far, how long yet.

``board`` knows the state of the run, ``live`` hears of it from Snakemake, ``following`` reads the
records of running jobs, ``screen`` draws, ``terminal`` keeps all other output above the drawing.
"""
