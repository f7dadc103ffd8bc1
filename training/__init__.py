"""How the bundled model is made: its data, its training and its contact sheets.

Nothing here is needed to edit pictures, and ``editinfinity`` never imports it. Run the modules
from the repository's root (``python -m training.assets``); ``training/README.md`` tells the order.
"""
