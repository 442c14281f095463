"""The commands of docs/replay.md do what the page says."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from broker_plugin.cli import main
from schemas.synthetic import generate_packets
from tests.archive.archives import tar

PAGE = Path(__file__).parents[2] / "docs/replay.md"
NEEDS_KAFKA = ("--target kafka", "backfill")


def commands() -> list[str]:
    """The page's commands, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line.removeprefix("convention-broker ") for block in blocks for line in block.splitlines()]


def write_night(folder: Path) -> None:
    simulated = list(generate_packets(seed=3, num_objects=8, num_frames=5))
    members = {f"{number}.avro": packet.payload for number, packet in enumerate(simulated)}
    (folder / "night.tar.gz").write_bytes(tar(members, mode="w:gz"))
    with (folder / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object_id", "class"])
        writer.writerows(sorted({(packet.object_id, packet.true_class) for packet in simulated}))


def test_the_page_s_offline_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay and evaluation as the page types them."""
    monkeypatch.chdir(tmp_path)
    write_night(tmp_path)
    run = [command for command in commands() if not any(name in command for name in NEEDS_KAFKA)]
    assert len(run) == 3
    for command in run:
        assert main(shlex.split(command)) == 0, command
    assert (tmp_path / "evaluation/report.html").is_file()
    assert (tmp_path / "chosen/records-00000.avro").is_file()


@pytest.mark.kafka
def test_the_page_s_kafka_commands_run(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay into a topic, backfill, and a rescoring that says there is no store yet, as the page types them."""
    monkeypatch.chdir(tmp_path)
    write_night(tmp_path)
    for section in ("INPUT", "INTERNAL", "OUTPUT"):
        monkeypatch.setenv(f"CONVENTION_{section}__BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("CONVENTION_INTERNAL__TOPIC_PREFIX", "replay-page")
    run = [command for command in commands() if any(name in command for name in NEEDS_KAFKA)]
    fast = [command.replace("--speed 60", "--speed 1e9").replace("--topic alerts", "--topic page") for command in run]
    assert [main(shlex.split(command)) for command in fast] == [0, 0, 2]
