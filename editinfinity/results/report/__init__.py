"""Builds ``results/report.html``: one self-contained page that shows all results.

``gather`` reads the results, ``pictures`` makes thumbnails and overlays, ``page`` writes both into
one HTML file, and ``make`` selects the cases. No module here imports torch.
"""
