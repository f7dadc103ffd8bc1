"""All settings, each declared once: their types, the ``Setting`` class, and the groups.

This package imports neither torch nor any package of this project that uses the settings.
"""
