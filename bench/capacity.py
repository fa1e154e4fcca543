"""The gateways, memory and disk that an issuer needs: ``python -m bench.capacity --cards 1000000 --peak 4``.

Prints `bench.model`'s tables for your own assumptions, by the unit costs of the latest benchmarks.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import astuple, fields

from bench import latest
from bench.model import ASSUMPTIONS, Assumptions, assumptions_table, model_table, sizes_table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables.

    Raises:
        SystemExit: An option is unknown or no usable number (status 2).
        LookupError: A figure was not measured.
    """
    parser = ArgumentParser(prog="bench.capacity", description="Sizes a cluster of gateways.")
    for each in fields(Assumptions):
        default = getattr(ASSUMPTIONS, each.name)
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, metavar="NUMBER", help=f"default: {default}")
    assumed = Assumptions(**vars(parser.parse_args(arguments)))
    if min(astuple(assumed)) < 0 or not assumed.busy:
        parser.error("expected no number below 0, and --busy above 0")
    found = latest.read()
    tables = assumptions_table(assumed), model_table(found, assumed), sizes_table(found, assumed)
    sys.stdout.write("\n".join(each.to_markdown() for each in tables))


if __name__ == "__main__":
    main()
