"""``networks``: the registered networks, their sizes and what they cost."""

from __future__ import annotations

import argparse
import json
from typing import Final

HELP: Final = "List the networks: bands, parameters, multiply-adds for 99 frames, source."
EXAMPLE: Final = "convention-broker networks --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print one row a network and band set. Multiply-adds are of one sequence of 99 frames, three a night, counted
    from the operations that run."""
    rows = _rows()
    if args.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Networks (4 classes)")
    for heading, justify in (("name", "left"), ("bands", "left"), ("parameters", "right"), ("GMAC/99", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    table.add_column("source")
    for row in rows:
        gmac = f"{float(row['multiply_adds_99_frames']) / 1e9:.2f}"
        table.add_row(str(row["name"]), str(row["bands"]), f"{row['parameters']:,}", gmac, str(row["source"]))
    Console().print(table)
    return 0


def _rows() -> list[dict[str, str | int]]:
    from model.cost import multiply_adds
    from model.registry import create, network_entry, network_names

    rows: list[dict[str, str | int]] = []
    for name in network_names():
        entry = network_entry(name)
        for bands in entry.band_sets:
            network = create(name, bands=bands)
            rows.append(
                {
                    "name": name,
                    "bands": "".join(bands),
                    "parameters": network.num_parameters,
                    "multiply_adds_99_frames": multiply_adds(network),
                    "source": entry.source,
                }
            )
    return rows
