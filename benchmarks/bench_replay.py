"""Offline replay of a simulated archive: ``python -m benchmarks.bench_replay [--packets N]``.

A tar of simulated ZTF packets (ten frames an object, in time order) is replayed with the shipped bundle into Avro
files. Packets a second, over all and by quarter, and the resident memory of all its processes after each quarter,
which has to stay flat once the caches are filled (token caches are kept small here, so that they are; a store's page
cache of 64 MB takes 14,000 observations). The rate is compared with what one ingest process is asked for;
CPU seconds tell what the figure would be on a machine that does nothing else. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Final

from broker_plugin.replay.offline import OfflineOptions
from broker_plugin.replay.offline_job import replay_offline
from broker_plugin.replay.processes import num_processors
from broker_plugin.replay.progress import ReplayProgress
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings_sources import load_settings
from schemas.synthetic import SMALL, generate_packets

NUM_FRAMES: Final = 10
WANTED_PER_S: Final = 400.0
TOKEN_CACHE_MB: Final = 16


def write_archive(path: Path, num_packets: int) -> None:
    simulated = generate_packets(seed=1, num_objects=num_packets // NUM_FRAMES, num_frames=NUM_FRAMES, form=SMALL)
    with tarfile.open(path, "w") as archive:
        for number, packet in enumerate(simulated):
            info = tarfile.TarInfo(f"{number}.avro")
            info.size = len(packet.payload)
            archive.addfile(info, io.BytesIO(packet.payload))
            archive.members.clear()  # or it holds on to every member


def resident_mb() -> float:
    """Resident memory of this process and its helpers, MB."""
    processes = ["self", *(str(child.pid) for child in active_children())]
    pages = sum(int(Path(f"/proc/{name}/statm").read_text().split()[1]) for name in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s() -> float:
    """CPU seconds of this process and of its helpers that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


class Quarters(ReplayProgress):
    """Notes time and memory as each quarter of the packets is done."""

    def __init__(self, num_packets: int) -> None:
        super().__init__()
        self._num_packets = num_packets
        self.started = time.perf_counter()
        self.marks: list[tuple[int, float, float]] = []

    def show(self, description: str, num_packets: int, share: float) -> None:
        super().show(description, num_packets, share)
        if not self.marks:
            self.started = time.perf_counter()  # the engine is loaded, the first batch is done
            self.marks.append((num_packets, 0.0, resident_mb()))
        elif num_packets >= self._num_packets * len(self.marks) / 4:
            self.marks.append((num_packets, time.perf_counter() - self.started, resident_mb()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=20_000)
    num_packets = parser.parse_args().packets // NUM_FRAMES * NUM_FRAMES
    with tempfile.TemporaryDirectory() as name, Quarters(num_packets) as progress:
        archive = Path(name, "night.tar")
        write_archive(archive, num_packets)
        archive_mb = archive.stat().st_size / 1e6
        before_s = cpu_s()
        replay_offline(
            [archive],
            Path(name, "out"),
            load_settings(flags=[f"classify.token_cache_mb={TOKEN_CACHE_MB}"]),
            stream_options=StreamOptions(),
            options=OfflineOptions(),
            progress=progress,
        )
    spent_s = cpu_s() - before_s
    marks = progress.marks
    print(f"{num_packets} packets of {archive_mb:.0f} MB\n{'packets':>10}{'packets/s':>12}{'resident MB':>14}")
    for (before, then, _), (number, now, memory_mb) in pairwise(marks):
        print(f"{number:>10}{(number - before) / (now - then):>12.0f}{memory_mb:>14.0f}")
    per_s = (marks[-1][0] - marks[0][0]) / marks[-1][1]
    print(f"{spent_s:.1f} CPU seconds with the start of the processes, on {num_processors()} processors")
    figures = {
        "replay_packets_per_s": per_s,
        "ratio_to_ingest_rate_wanted": per_s / WANTED_PER_S,
        "cpu_ms_per_packet": 1000 * spent_s / num_packets,
        "resident_mb_at_half": marks[2][2],
        "resident_mb_at_end": marks[-1][2],
        "last_quarter_growth": marks[-1][2] / marks[-2][2] - 1,
        "archive_mb": archive_mb,
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
