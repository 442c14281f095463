"""Hostile packets against the decoder, in a process of its own: nothing escapes, hangs, or eats the memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAX_GROWTH_BYTES = 500 * 10**6
MAX_PACKET_S = 10.0


def fuzz(seed: int, count: int) -> dict[str, Any]:
    """Explicit attacks and ``count`` mutated packets; warnings are errors there too."""
    command = [sys.executable, "-W", "error", "-m", "tests.schemas.fuzz_decoder", str(seed), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"status {done.returncode} at: {done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    print(found)
    return found


def check(found: dict[str, Any], count: int) -> None:
    assert sum(found["outcomes"].values()) == count + found["num_attacks"]
    assert found["growth_bytes"] < MAX_GROWTH_BYTES
    assert found["slowest_s"] < MAX_PACKET_S
    # the mutations reach all layers: framing, schema, record, fields, cutouts; and some packets stay sound
    reached = {"unknown_framing", "bad_container", "bad_schema", "bad_avro", "bad_field", "bad_fits", "Stamped"}
    assert reached <= set(found["outcomes"])


def test_2000_mutated_packets() -> None:
    """Bombs, lying lengths and 2,000 mutated ZTF, LSST, ugriz and deflated packets each end in an outcome, a
    PacketError or SchemaUnavailable, within seconds, and the process grows by less than 500 MB."""
    check(fuzz(20230401, 2000), 2000)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_20000_mutated_packets(seed: int) -> None:
    """The same for 20,000, in four runs."""
    check(fuzz(seed, 5000), 5000)
