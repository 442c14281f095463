"""One role in this process, or both as child processes: the same two that a cluster runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer

from broker_plugin.kafka.client import ENVELOPE_BYTES, AckedProducer, make_consumer
from broker_plugin.kafka.delivery import AtLeastOnce, Delivery, ExactlyOnce, TransactionalProducer
from broker_plugin.kafka.outages import OutageWatch
from broker_plugin.kafka.topics import create_topics, require_brokers
from broker_plugin.settings.sections import Connection, Settings
from broker_plugin.telemetry.health import ASSIGNED, RESTORED, Health, HealthServer
from broker_plugin.telemetry.logs import configure_logs
from broker_plugin.telemetry.metrics import IngestMetrics, worker_registry
from broker_plugin.version import plugin_version
from broker_plugin.worker.partitions import closing
from broker_plugin.worker.points import Passed, unwatched
from broker_plugin.worker.stopping import Stop
from schemas.errors import SettingsError
from schemas.surveys import SURVEYS

ROLES: Final = ("ingest", "classify")
BROKERS: Final = {"ingest": ("internal", "output", "input"), "classify": ("internal", "output")}
EXIT_S: Final = 2.0
WAITS_FOR: Final = {"ingest": (ASSIGNED,), "classify": (ASSIGNED, RESTORED)}

log = structlog.get_logger(__name__)


def run_role(settings: Settings, role: str, *, passed: Passed = unwatched) -> int:
    """Run one role in the foreground until it is told to stop; errors of the project are raised."""
    instance = f"{socket.gethostname()}-{os.getpid()}-{role}"
    configure_logs(level=settings.log.level, format=settings.log.format, role=role, instance=instance)
    health = Health(max_silence_s=settings.worker.max_poll_interval_ms / 1000, waits_for=WAITS_FOR[role])
    stop = Stop(deadline_s=settings.worker.drain_deadline_s, on_ask=health.drain)
    require_brokers(settings, *BROKERS[role])
    create_topics(settings.internal, settings.output, shadow=bool(settings.classify.challengers))
    registry = worker_registry()
    port = settings.worker.metrics_port and settings.worker.metrics_port + ROLES.index(role)
    with HealthServer(registry, health, host=settings.worker.metrics_host, port=port) as server:
        log.info("started", role=role, metrics_port=server.port, version=plugin_version())
        start = _start_ingest if role == "ingest" else _start_classify
        step, close = start(settings, registry, health, instance, passed)
        try:
            while not stop.asked:
                step()
                health.progressed()
        finally:
            close()
    log.info("stopped", role=role)
    return 0


def _producer(connection: Connection, settings: Settings) -> AckedProducer:
    largest = settings.internal.max_message_bytes + ENVELOPE_BYTES
    return AckedProducer(connection, settings.worker, max_message_bytes=largest)


def _delivery(settings: Settings, consumer: Consumer, instance: str) -> Delivery:
    if not settings.classify.exactly_once:
        output, internal = _producer(settings.output, settings), _producer(settings.internal, settings)
        return AtLeastOnce(consumer, output=output, internal=internal, retry_s=settings.worker.delivery_timeout_s)
    producer = TransactionalProducer(
        settings.output,
        settings.worker,
        max_message_bytes=settings.internal.max_message_bytes + ENVELOPE_BYTES,
        transactional_id=f"{settings.internal.group}-{settings.worker.instance_id or instance}",
    )
    producer.open()
    return ExactlyOnce(consumer, producer)


def _start_ingest(
    settings: Settings, registry: object, health: Health, instance: str, passed: Passed
) -> tuple[Callable[[], int], Callable[[], None]]:
    from broker_plugin.worker.ingest import IngestRole

    watch = OutageWatch(settings.worker.delivery_timeout_s)
    consumer = make_consumer(
        settings.input,
        settings.worker,
        group=settings.input.group,
        start=settings.input.start,
        on_error=watch.on_error,
    )
    producer = _producer(settings.internal, settings)
    role = IngestRole(
        settings,
        consumer,
        producer,
        metrics=IngestMetrics(
            registry,  # type: ignore[arg-type]
            surveys=[survey.name for survey in SURVEYS],
            version=plugin_version(),
        ),
        instance=instance,
        plugin_version=plugin_version(),
        passed=passed,
    )
    role.subscribe(lambda met: health.set(ASSIGNED, met))

    def step() -> int:
        watch.check(consumer)
        producer.serve()
        num_packets = role.step()
        role.partitions.check_topics()
        return num_packets

    return step, closing(consumer, role.partitions)


def _start_classify(
    settings: Settings, registry: object, health: Health, instance: str, passed: Passed
) -> tuple[Callable[[], int], Callable[[], None]]:
    from broker_plugin.store.kept_tokens import KeptTokens
    from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
    from broker_plugin.telemetry.measured_scorer import measured
    from broker_plugin.worker.bundle_loading import bundle_loader, bundle_paths
    from broker_plugin.worker.bundle_reload import BundleReloader
    from broker_plugin.worker.classify import ClassifyRole
    from broker_plugin.worker.classify_engine import ClassifyEngine

    classify = settings.classify
    metrics = ClassifyMetrics(registry, version=plugin_version())  # type: ignore[arg-type]
    paths = bundle_paths(classify)
    kept = KeptTokens(classify.token_cache_dir)
    loading = kept.loading(bundle_loader(classify))
    load = measured(loading, metrics, requested=classify.device, references=classify.drift_references)
    scorers = [load(path) for path in paths]
    challengers = [load(path) for path in classify.challengers]
    if alone := {c.view_rule.grid_id for c in challengers} - {s.view_rule.grid_id for s in scorers}:
        raise SettingsError(f"classify.challengers: no bundle in use has grid {', '.join(sorted(alone))}")
    engine = ClassifyEngine(
        scorers,
        classify,
        log_topic=settings.internal.stamp_log_topic,
        plugin_version=plugin_version(),
        challengers=challengers,
        passed=passed,
    )

    def show_bundles(*, switched: bool = False) -> None:
        metrics.bundles(list(engine.bundle_ids.values()), list(engine.challenger_ids.values()), switched=switched)

    show_bundles()
    watch = OutageWatch(settings.worker.delivery_timeout_s)
    consumer = make_consumer(
        settings.internal, settings.worker, group=settings.internal.group, start="earliest", on_error=watch.on_error
    )
    delivery = _delivery(settings, consumer, instance)
    role = ClassifyRole(
        settings,
        consumer,
        delivery,
        engine,
        metrics=metrics,
        instance=instance,
        passed=passed,
    )
    role.subscribe(lambda met: health.set(ASSIGNED, met))

    reloader = BundleReloader(
        engine,
        load,
        bundles=paths,
        challengers=classify.challengers,
        interval_s=classify.reload_interval_s,
        on_switch=lambda: show_bundles(switched=True),
    )

    def step() -> int:
        watch.check(consumer)
        delivery.output.serve()
        delivery.internal.serve()
        reloader.poll()
        num_messages = role.step()
        role.partitions.check_topics()
        health.set(RESTORED, role.restored)
        return num_messages

    return step, closing(consumer, role.partitions, role.close, kept.save)


def run_both(arguments: Sequence[str], *, drain_deadline_s: float) -> int:
    """One child process a role, with the same arguments; ends when either does. 1 when one of them failed."""
    stop = Stop()
    children = [
        subprocess.Popen([sys.executable, "-m", "broker_plugin", "worker", *arguments, "--role", role])
        for role in ROLES
    ]
    while not stop.asked and all(child.poll() is None for child in children):
        time.sleep(0.05)
    failed = [child.returncode for child in children if child.returncode]
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + drain_deadline_s + EXIT_S  # a role ends by itself at its deadline
    for child in children:
        try:
            status = child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        if status:
            failed.append(status)
    return 1 if failed else 0
