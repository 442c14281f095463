"""ZTF packets a second on one core, from wire to observation, and the FITS reader against astropy.

``python -m benchmarks.bench_decode [--packets N]`` prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import warnings
from collections.abc import Callable

from astropy.io import fits

from schemas.avro import read_container
from schemas.decode import PacketDecoder
from schemas.fits import gunzip, read_image
from schemas.surveys.ztf import cutouts
from schemas.synthetic import generate_packets


def rate(function: Callable[[bytes], object], items: list[bytes], *, rounds: int = 3) -> float:
    """Items a second, the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for item in items:
            function(item)
        best = min(best, time.perf_counter() - started)
    return len(items) / best


def with_astropy(data: bytes) -> object:
    with fits.open(io.BytesIO(gunzip(data))) as hdus:
        return hdus[0].data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=300)
    count = parser.parse_args().packets
    packets = [p.payload for p in generate_packets(seed=1, num_objects=count, num_frames=1)]
    stamps = [data for p in packets for data in cutouts(read_container(p).record).values() if data is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = {
            "ztf_packets_per_s": rate(PacketDecoder().decode, packets),
            "container_records_per_s": rate(read_container, packets),
            "stamps_per_s": rate(read_image, stamps),
            "astropy_stamps_per_s": rate(with_astropy, stamps),
        }
    figures["stamp_ratio_to_astropy"] = figures["stamps_per_s"] / figures["astropy_stamps_per_s"]
    for name, value in figures.items():
        print(f"{name:<28}{value:>12.1f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
