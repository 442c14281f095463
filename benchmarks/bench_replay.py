"""Replay of a simulated archive: ``python -m benchmarks.bench_replay [--packets N] [--ingest-per-s R]``.

A tar of simulated ZTF packets (ten frames an object, in time order) is replayed with the shipped bundle into Avro
files. Packets a second, over all and by quarter, and the resident memory of all its processes after each quarter,
which has to stay flat once the caches are filled (token caches are kept small here, so that they are; a store's page
cache of 64 MB takes 14,000 observations). CPU seconds tell what the figure would be on a machine that does nothing
else. The same archive is replayed into a topic as well.

Both rates are compared with that of the ingest benchmark, which decodes only: it runs first, on INGEST_PACKETS
packets, unless ``--ingest-per-s`` states what it measured; and with what that benchmark asks for. The last line is
JSON.
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

from benchmarks import bench_ingest
from benchmarks.watching import broker, rates, warm
from broker_plugin.replay.kafka_job import create_input_topic, replay_into_kafka
from broker_plugin.replay.offline import OfflineOptions
from broker_plugin.replay.offline_job import replay_offline
from broker_plugin.replay.processes import num_processors
from broker_plugin.replay.progress import ReplayProgress
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sources import load_settings
from schemas.synthetic import SMALL, generate_packets

NUM_FRAMES: Final = 10
INGEST_PACKETS: Final = 2000
TOPIC: Final = "replayed"
NUM_PARTITIONS: Final = 4
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


def ingest_per_s() -> float:
    """Packets a second of the ingest benchmark, on this machine now."""
    with tempfile.TemporaryDirectory() as name, broker(None, Path(name)) as (address, kind, pid):
        samples, _ = bench_ingest.measure(address, Path(name), pid, INGEST_PACKETS, fed_first=True)
    later = warm(samples)
    per_s = rates(later[0], later[-1])["packets_per_s"]
    print(f"ingest on {kind}: {per_s:.0f} packets/s over {INGEST_PACKETS} packets")
    return per_s


def offline_figures(archive: Path, folder: Path, num_packets: int) -> dict[str, float]:
    """Offline replay into ``folder``: its rate, CPU time and memory."""
    before_s = cpu_s()
    with Quarters(num_packets) as progress:
        replay_offline(
            [archive],
            folder,
            load_settings(flags=[f"classify.token_cache_mb={TOKEN_CACHE_MB}"]),
            stream_options=StreamOptions(),
            options=OfflineOptions(),
            progress=progress,
        )
    spent_s, marks = cpu_s() - before_s, progress.marks
    print(f"offline\n{'packets':>10}{'packets/s':>12}{'resident MB':>14}")
    for (before, then, _), (number, now, memory_mb) in pairwise(marks):
        print(f"{number:>10}{(number - before) / (now - then):>12.0f}{memory_mb:>14.0f}")
    print(f"{spent_s:.1f} CPU seconds with the start of the processes, on {num_processors()} processors")
    return {
        "replay_packets_per_s": (marks[-1][0] - marks[0][0]) / marks[-1][1],
        "cpu_ms_per_packet": 1000 * spent_s / num_packets,
        "resident_mb_at_half": marks[len(marks) // 2][2],
        "resident_mb_at_end": marks[-1][2],
        "last_quarter_growth": marks[-1][2] / marks[-2][2] - 1,
    }


def into_kafka_per_s(archive: Path, folder: Path) -> float:
    """Packets a second into a topic, from the first to the last, on a broker of its own."""
    with broker(None, folder) as (address, kind, _), ReplayProgress() as progress:
        settings = load_settings(flags=[f"input.bootstrap_servers={address}"])
        create_input_topic(settings, TOPIC, NUM_PARTITIONS)
        started = time.perf_counter()
        summary = replay_into_kafka(
            [archive],
            folder,
            settings,
            topic=TOPIC,
            stream_options=StreamOptions(),
            speed=None,
            progress=progress,
        )
        per_s = summary["num_packets"] / (time.perf_counter() - started)
    print(f"into {kind}: {per_s:.0f} packets/s")
    return float(per_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=20_000)
    parser.add_argument("--ingest-per-s", type=float, metavar="R", help="of bench_ingest (default: it is run first)")
    args = parser.parse_args()
    num_packets = args.packets // NUM_FRAMES * NUM_FRAMES
    figures = {"ingest_packets_per_s": args.ingest_per_s or ingest_per_s()}
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name, "night.tar")
        write_archive(archive, num_packets)
        figures["archive_mb"] = archive.stat().st_size / 1e6
        print(f"{num_packets} packets of {figures['archive_mb']:.0f} MB")
        figures |= offline_figures(archive, Path(name, "out"), num_packets)
        figures["into_kafka_packets_per_s"] = into_kafka_per_s(archive, Path(name))
    for what in ("replay", "into_kafka"):
        per_s = figures[f"{what}_packets_per_s"]
        figures[f"{what}_ratio_to_ingest"] = per_s / figures["ingest_packets_per_s"]
        figures[f"{what}_ratio_to_ingest_wanted"] = per_s / bench_ingest.WANTED_PER_S
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
