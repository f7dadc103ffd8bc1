"""The live terminal display of a workflow run: running jobs, their progress, the time left.

``run_state`` holds the state of the run, ``live`` updates it from Snakemake's events, ``following``
reads the records of running jobs, ``screen`` renders the display, and ``terminal`` keeps all other
output above the display.
"""
