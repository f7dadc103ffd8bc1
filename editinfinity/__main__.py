"""Entry point of ``python -m editinfinity``, which runs the ``editinfinity`` command."""

from editinfinity.cli import main

main()
