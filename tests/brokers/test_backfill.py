"""Backfill and rescoring against a real broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_plugin.cli import main
from broker_plugin.demo.demo import send, total
from broker_plugin.kafka.topic_reader import read_topic
from model.bundle_files import read_bundle_files, write_bundle_files
from schemas.classification import Classification
from tests.archive.archives import packets, tar
from tests.brokers.support import Run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
NUM_OBJECTS, NUM_FRAMES = 6, 5


def flags_of(run: Run) -> list[str]:
    return [f"--set={flag}" for flag in run.flags]


def test_a_backfill_lengthens_sequences_and_a_rescoring_renews_them(
    kafka: str, tmp_path: Path, slim_ztf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive's frames are stored only; the live packets that follow are classified with them; a rescoring then
    publishes each object's same view once under another bundle."""
    sent = packets(NUM_OBJECTS, NUM_FRAMES)
    old, live = sent[:-NUM_OBJECTS], sent[-NUM_OBJECTS:]
    path = tmp_path / "night.tar"
    path.write_bytes(tar({f"{number:03d}.avro": payload for number, payload in enumerate(old)}))
    run = Run(kafka, tmp_path, "classify.publish_too_short=false")
    command = ["backfill", str(path), "--output", str(tmp_path / "backfill"), "--json", *flags_of(run)]
    assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"] == {"ingest.stamped": len(old)}
    assert main(command) == 0  # it is done: nothing is sent again
    capsys.readouterr()
    with run.worker() as worker:
        send(run.settings, live)
        accounts = run.await_accounts(worker, lambda accounts: total(accounts, "classify") >= len(sent))
    assert worker.returncode == 0
    assert total(accounts, "classify", "stored_only") == len(old)
    output = run.settings.output
    before = list(read_topic(output, output.topic))
    assert len(before) <= len(live)
    newest = {message.key(): Classification.from_bytes(message.value() or b"") for message in before}
    assert max(record.num_frames for record in newest.values()) > 3

    renewed = tmp_path / "convention-ztf-2.0"
    files, _ = read_bundle_files(slim_ztf)
    spec = json.loads(files["bundle.json"]) | {"version": "2.0"}
    write_bundle_files(renewed, files | {"bundle.json": json.dumps(spec).encode()})
    assert main(["backfill", "--rescore", "--json", *flags_of(run), f'--set=classify.bundles=["{renewed}"]']) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["num_objects"] == NUM_OBJECTS
    after = list(read_topic(output, output.topic))[len(before) :]
    again = [message for message in read_topic(output, output.topic) if dict(message.headers() or ()).get("rescored")]
    assert len(after) == len(again) == NUM_OBJECTS - summary["counts"].get("classify.too_short", 0)
    for message in again:
        record = Classification.from_bytes(message.value() or b"")
        assert record.bundle_id.startswith("convention-ztf-2.0-")
        if message.key() in newest:
            earlier = newest[message.key()]
            assert (record.view_digest, record.probabilities) == (earlier.view_digest, earlier.probabilities)


def test_a_rescoring_leaves_a_running_worker_alone(
    kafka: str, tmp_path: Path, slim_ztf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stores that a worker holds are not read, and the message says who holds them; without stores it says so."""
    run = Run(kafka, tmp_path, "internal.partitions=1")
    with run.worker() as worker:
        sent = packets(2, 3)
        send(run.settings, sent)
        run.await_accounts(worker, lambda accounts: total(accounts, "classify") >= len(sent))
        assert main(["backfill", "--rescore", *flags_of(run)]) == 1
        assert "is held by process" in capsys.readouterr().err
    elsewhere = run.changed(f'classify.state_dir="{tmp_path / "nowhere"}"')
    assert main(["backfill", "--rescore", *flags_of(elsewhere)]) == 2
    assert "holds no store" in capsys.readouterr().err
