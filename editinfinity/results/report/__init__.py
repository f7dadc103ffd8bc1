"""``results/report.html``: everything the results hold, on one page that needs nothing else.

``gather`` reads what lies there, ``pictures`` makes it small, ``page`` puts both into one file, and
``make`` decides which cases. Nothing here imports torch.
"""
