"""The command ``editinfinity``: one module per group of commands; ``main`` runs it."""

from editinfinity.cli.main import app, main

__all__ = ["app", "main"]
