"""``python -m gateway``: the same as the command ``d1-gateway``."""

from gateway.cli.main import main

main()
