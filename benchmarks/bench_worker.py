"""New frames of known objects through the whole worker: ``python -m benchmarks.bench_worker [--broker HOST:PORT]``.

Broker and worker share the machine; without ``--broker`` an Apache Kafka node is started where ``KAFKA_HOME`` has
one, otherwise the embedded broker. Simulated ZTF packets of ``--objects`` objects go through ingest and classify,
with an ensemble of full-size ``convention`` networks of random weights (what an answer costs does not depend on
them). First every object gets ``--frames`` frames. Then, for each number of members:

burst: ``--new`` further frames of every object at once; objects (answers) a second from the first packet's ingest to
the last answer's publication. paced: the same again at ``--rate`` packets a second; latency from ingest to
publication, Kafka's timestamps. The last line is JSON.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from benchmarks.random_ensemble import random_ensemble
from benchmarks.watching import broker, print_figures
from broker_plugin.demo.demo import follow_ledger, send, worker_flags
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.processes import worker_process
from model.bundle_writer import save_bundle
from model.cost import plain_sequence
from schemas.errors import BrokerError
from schemas.surveys.ztf import GRID_ID
from schemas.synthetic import SMALL, draw_object

BANDS: Final = ("g", "r", "i")
WANTED_PER_S: Final = 100.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Packets of simulated objects: what is known before, and two rounds of new frames, in time order."""

    history: list[bytes]
    burst: list[bytes]
    paced: list[bytes]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker")
    parser.add_argument("--objects", type=int, default=150)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--new", type=int, default=6)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--members", type=int, nargs="+", default=[3, 15])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    stream = draw_stream(args.objects, args.frames, args.new)
    figures: dict[str, Any] = {"objects": args.objects, "frames": args.frames, "threads": args.threads}
    with tempfile.TemporaryDirectory() as name, broker(args.broker, Path(name)) as (address, kind, _):
        figures["broker"] = kind
        for members in args.members:
            folder = Path(name) / f"members-{members}"
            folder.mkdir()
            bundle = make_bundle(folder / "bundle", members)
            try:
                measured = measure(address, folder, bundle, stream, rate=args.rate, threads=args.threads)
            except BrokerError:
                sys.stderr.write((folder / "worker.log").read_text()[-4000:])
                raise
            figures |= {f"members_{members}_{key}": value for key, value in measured.items()}
    figures["ratio"] = figures[f"members_{args.members[0]}_objects_per_s"] / WANTED_PER_S
    print_figures(figures)


def draw_stream(num_objects: int, num_frames: int, num_new: int) -> Stream:
    """Objects of ``num_frames + 2 num_new`` exposures each."""
    count = num_frames + 2 * num_new
    nights = (count, 4 * count + 8)
    objects = [
        draw_object("ztf", seed=77, index=index, min_frames=count, max_frames=count, num_nights=nights)
        for index in range(num_objects)
    ]

    def packets(start: int, stop: int) -> list[bytes]:
        return [one.packet(frame, form=SMALL) for frame in range(start, stop) for one in objects]

    middle = num_frames + num_new
    return Stream(packets(0, num_frames), packets(num_frames, middle), packets(middle, count))


def make_bundle(folder: Path, members: int) -> Path:
    """A bundle on disk."""
    spec, states, novelty = random_ensemble(members, bands=BANDS, grid_id=GRID_ID)
    golden = [replace(plain_sequence(BANDS, num_frames=9), grid_id=GRID_ID)]
    save_bundle(folder, spec, states, novelty, golden)
    return folder


def measure(
    address: str, folder: Path, bundle: Path, stream: Stream, *, rate: float, threads: int
) -> dict[str, float]:
    """One worker from its first packet to its last."""
    flags = worker_flags(address, folder, embedded=False)
    flags += [f'classify.bundles=["{bundle}"]', f"classify.threads={threads}"]
    settings = load_settings(flags=flags)
    create_topics(settings.internal, settings.output)
    quiet = Console(quiet=True)
    with worker_process(flags, folder / "worker.log") as worker:
        send(settings, stream.history)
        follow_ledger(settings, worker, len(stream.history), quiet)
        send(settings, stream.burst)
        follow_ledger(settings, worker, len(stream.history) + len(stream.burst), quiet)
        pace(settings, stream.paced, rate)
        follow_ledger(settings, worker, sum(map(len, (stream.history, stream.burst, stream.paced))), quiet)
    answers = sorted(
        (int(dict(m.headers() or ())["ingest-time-ms"]), int(m.timestamp()[1]))
        for m in read_topic(settings.output, settings.output.topic)
    )
    start, end = len(stream.history), len(stream.history) + len(stream.burst)
    burst = answers[start:end]
    latency = np.array([published - ingested for ingested, published in answers[end:]]) / 1000.0
    seconds = (max(published for _, published in burst) - burst[0][0]) / 1000.0
    return {
        "objects_per_s": len(burst) / seconds,
        "paced_rate": rate,
        "latency_p50_s": float(np.percentile(latency, 50)),
        "latency_p99_s": float(np.percentile(latency, 99)),
    }


def pace(settings: Settings, packets: Sequence[bytes], rate: float) -> None:
    """Send at ``rate`` a second, a tenth of a second's worth at a time."""
    start = time.monotonic()
    step = max(1, int(rate / 10))
    for first in range(0, len(packets), step):
        time.sleep(max(0.0, start + first / rate - time.monotonic()))
        send(settings, packets[first : first + step])


if __name__ == "__main__":
    main()
