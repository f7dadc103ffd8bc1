"""The bundled model's world: its objects, colours and backgrounds, and a judge of its pictures.

The metric computed here (``alignment``) is this project's own. It is not part of any benchmark.
"""
