"""What a person at a terminal sees while the workflow runs: which jobs, how far, how long yet.

``board`` knows the state of the run, ``listening`` hears of it from Snakemake, ``following`` reads
the logs of running jobs, ``screen`` draws, ``terminal`` keeps all other output above the drawing.
"""
