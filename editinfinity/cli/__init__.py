"""The command ``editinfinity``: a module a group of commands; ``main`` runs it."""

from editinfinity.cli.main import app, main

__all__ = ["app", "main"]
