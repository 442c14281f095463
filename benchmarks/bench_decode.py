"""ZTF and LSST packets a second on one core: wire to calibrated stamps, wire to observation.

The references: a stamp read by astropy, and a packet read the usual way, all of it by fastavro and stamps by astropy.

``python -m benchmarks.bench_decode [--packets N]`` prints a table and, last, one line of JSON. LSST packets are the
real ones of ``CONVENTION_SAMPLE_DATA`` in wire format where that is set (300 kB each, mostly histories); simulated
ones, without histories, otherwise. Rates are of processor time, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from schemas.avro import CONTAINER_MAGIC
from schemas.decode import PacketDecoder
from schemas.fits import GZIP_MAGIC, gunzip, read_image
from schemas.outcome import Stamped
from schemas.surveys import lsst, ztf
from schemas.surveys.lsst_wire import bundled_schema
from schemas.synthetic import generate_packets
from schemas.wire import WIRE_HEADER_SIZE, PacketReader

REAL_LSST = "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro"
LSST_SCHEMA_ID = 1000
Cutouts = Callable[[Mapping[str, Any]], dict[str, bytes | None]]


def rate(function: Callable[[bytes], object], items: list[bytes], *, rounds: int = 5) -> float:
    """Items a second of processor time, the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for item in items:
            function(item)
        best = min(best, time.process_time() - started)
    return len(items) / best


def read_with_astropy(data: bytes) -> NDArray[np.float32]:
    content = gunzip(data) if data.startswith(GZIP_MAGIC) else data
    with fits.open(io.BytesIO(content)) as hdus:
        return np.array(hdus[0].data, np.float32)


def usual_way(cutouts: Cutouts, payload: bytes) -> object:
    """The whole packet by fastavro, its stamps by astropy."""
    if payload.startswith(CONTAINER_MAGIC):
        record: Any = next(fastavro.reader(io.BytesIO(payload)))
    else:
        record = fastavro.schemaless_reader(io.BytesIO(payload[WIRE_HEADER_SIZE:]), lsst_schema(), None)
    return [read_with_astropy(data) for data in cutouts(record).values() if data is not None]


@cache
def lsst_schema() -> Any:
    return fastavro.parse_schema(bundled_schema(LSST_SCHEMA_ID))  # type: ignore[arg-type]


def lsst_packets(count: int) -> tuple[str, list[bytes]]:
    """Where they are from, and packets that become stamps."""
    folder = os.environ.get("CONVENTION_SAMPLE_DATA")
    if folder is None or not (Path(folder) / REAL_LSST).is_file():
        found = generate_packets(seed=2, num_objects=count, num_frames=1, survey="lsst")
        return "simulated, no histories", [packet.payload for packet in found]
    packets = []
    with (Path(folder) / REAL_LSST).open("rb") as stream:
        for record in fastavro.reader(stream):
            buffer = io.BytesIO()
            buffer.write(b"\x00" + struct.pack(">I", LSST_SCHEMA_ID))
            fastavro.schemaless_writer(buffer, lsst_schema(), record)
            packets.append(buffer.getvalue())
    decoder = PacketDecoder()
    return "real", [packet for packet in packets if isinstance(decoder.decode(packet), Stamped)]


def figures_of(survey: str, cutouts: Cutouts, packets: list[bytes]) -> dict[str, float]:
    """The rates of one survey and their ratios to the references."""
    reader = PacketReader()

    def stamps_of(payload: bytes) -> list[bytes]:
        return [data for data in cutouts(reader.read(payload).record).values() if data is not None]

    stamps = [data for payload in packets for data in stamps_of(payload)]
    wire_to_stamps = rate(lambda payload: [read_image(data) for data in stamps_of(payload)], packets)
    usual = rate(lambda payload: usual_way(cutouts, payload), packets, rounds=1)
    read, read_by_astropy = rate(read_image, stamps), rate(read_with_astropy, stamps, rounds=1)
    return {
        f"{survey}_wire_to_stamps_per_s": wire_to_stamps,
        f"{survey}_wire_to_observation_per_s": rate(PacketDecoder().decode, packets),
        f"{survey}_stamps_per_s": read,
        f"{survey}_stamps_by_astropy_per_s": read_by_astropy,
        f"{survey}_stamp_ratio_to_astropy": read / read_by_astropy,
        f"{survey}_packet_ratio_to_fastavro_and_astropy": wire_to_stamps / usual,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=300)
    count = parser.parse_args().packets
    ztf_packets = [packet.payload for packet in generate_packets(seed=1, num_objects=count, num_frames=1)]
    source, of_lsst = lsst_packets(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = figures_of("ztf", ztf.cutouts, ztf_packets) | figures_of("lsst", lsst.cutouts, of_lsst)
    print(f"LSST packets: {len(of_lsst)} {source}, {np.mean([len(packet) for packet in of_lsst]) / 1e3:.0f} kB each")
    for name, value in figures.items():
        print(f"{name:<46}{value:>12.1f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
