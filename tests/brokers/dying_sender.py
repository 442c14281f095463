"""Run as a script: a replay into Kafka that kills itself with SIGKILL at its n-th event.

Events: before and after each transaction begins, is flushed and commits, and before and after each checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

from broker_plugin.kafka.delivery import TransactionalProducer
from broker_plugin.replay import kafka_target
from broker_plugin.replay.checkpoint import Checkpoint
from broker_plugin.replay.kafka_job import replay_into_kafka
from broker_plugin.replay.progress import ReplayProgress
from broker_plugin.replay.stream import StreamOptions
from broker_plugin.settings.sources import load_settings
from tests.replay.dying_replay import Events


def main() -> None:
    address, topic, archive, folder, last = sys.argv[1:]
    events = Events(int(last))
    for owner, name in (
        (TransactionalProducer, "begin"),
        (TransactionalProducer, "flush"),
        (TransactionalProducer, "commit"),
        (Checkpoint, "write"),
    ):
        setattr(owner, name, events.around(getattr(owner, name)))
    kafka_target.BATCH_PACKETS = 7  # type: ignore[misc]
    with ReplayProgress() as progress:
        replay_into_kafka(
            [Path(archive)],
            Path(folder),
            load_settings(flags=[f'input.bootstrap_servers="{address}"']),
            topic=topic,
            stream_options=StreamOptions(),
            speed=None,
            progress=progress,
        )


if __name__ == "__main__":
    main()
