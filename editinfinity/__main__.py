"""``python -m editinfinity`` is the command ``editinfinity``."""

from editinfinity.cli import main

main()
