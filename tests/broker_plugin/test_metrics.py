"""What the roles report to Prometheus."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from broker_plugin.messages import ClassifyOutcome
from broker_plugin.telemetry.classify_metrics import ClassifyMetrics, unix_time_s
from broker_plugin.telemetry.metric_families import Families
from broker_plugin.telemetry.metrics import IngestMetrics, Rebalance, RoleMetrics, Step, worker_registry
from schemas.classification import Classification, Status
from schemas.errors import DeadLetterReason, FilterReason


class Clock:
    """Time that moves only when told to."""

    def __init__(self, start: float = 1000.0) -> None:
        self.time_s = start

    def __call__(self) -> float:
        return self.time_s


def ingest(clock: Clock | None = None) -> tuple[CollectorRegistry, IngestMetrics]:
    registry = CollectorRegistry()
    clock = clock or Clock()
    return registry, IngestMetrics(registry, surveys=("ztf", "lsst"), version="1", now=clock, timer=clock)


def classify(clock: Clock | None = None) -> tuple[CollectorRegistry, ClassifyMetrics]:
    registry = CollectorRegistry()
    clock = clock or Clock()
    return registry, ClassifyMetrics(registry, version="1", now=clock, timer=clock)


def record(status: Status, *, predicted_class: str | None = None, reason: str | None = None) -> Classification:
    return Classification(
        survey="ztf", object_id="ZTF21abiuvdk", ra=1.0, dec=2.0, newest_source_id="1", status=status, reason=reason,
        predicted_class=predicted_class, probabilities=None, spread=None, mutual_information=None, novelty=None,
        num_frames=1, frames_per_band={}, first_mjd=None, last_mjd=None, view_digest="", bundle_id="b",
        plugin_version="1",
    )  # fmt: skip


def value(registry: CollectorRegistry, name: str, role: str, **labels: str) -> float:
    sample = registry.get_sample_value(name, {"role": role, **labels})
    assert sample is not None, f"{name} {labels} is not exported"
    return sample


def test_every_series_exists_before_its_first_event() -> None:
    """Each label value of each family is exported from the start, so that the first event is an increase."""
    for registry, metrics in (ingest(), classify()):
        for family in metrics.families:
            if family.name == "convention_bundle_info":
                continue  # tells the bundles in use, and there is none yet
            exported = [s for f in registry.collect() for s in f.samples if s.name.startswith(family.name)]
            for label, values in family.labels.items():
                for known in values:
                    assert any(s.labels.get(label) == known for s in exported), (family.name, label, known)


def test_names_follow_the_conventions() -> None:
    """Prefix, base unit suffixes, _total on counters and on nothing else, a help text that is a sentence."""
    units = ("seconds", "bytes", "ratio", "info", "total")
    counts = ("messages", "sequences", "objects", "facts", "partitions", "device", "fallback", "index")
    for _, metrics in (ingest(), classify()):
        for family in metrics.families:
            assert re.fullmatch(r"convention_[a-z_]+", family.name)
            assert (family.kind == "counter") == family.name.endswith("_total")
            assert family.name.endswith(units + counts), family.name
            assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", family.name)


@pytest.mark.parametrize("name", ["alerts_total", "convention_alerts"])
def test_a_name_against_the_rules_is_refused(name: str) -> None:
    """A counter without the prefix or without _total is not registered."""
    with pytest.raises(ValueError, match=name):
        Families(CollectorRegistry(), "ingest").counter(name, "Alerts.")


def test_no_label_can_name_an_object() -> None:
    """An unheard-of survey counts as unknown; reasons, classes and outcomes outside the sets are refused."""
    registry, metrics = ingest()
    for survey in ("ZTF21abiuvdk", None):
        metrics.stamped(survey, size_bytes=10)
    assert value(registry, "convention_packets_total", "ingest", survey="unknown", outcome="stamped") == 2
    assert "ZTF21abiuvdk" not in generate_latest(registry).decode()
    classified = classify()[1]
    for status, predicted, reason in ((Status.CLASSIFIED, "ZTF21abiuvdk", None), (Status.ABSTAINED, None, "other")):
        with pytest.raises(KeyError):
            classified.scored(record(status, predicted_class=predicted, reason=reason))


OUTCOMES = st.one_of(st.just("stamped"), st.sampled_from(list(FilterReason)), st.sampled_from(list(DeadLetterReason)))


@given(st.lists(st.tuples(st.sampled_from(["ztf", "lsst", "other"]), OUTCOMES), max_size=40))
def test_packets_add_up(packets: list[tuple[str, str]]) -> None:
    """Packets = stamped + filtered + dead letters, and the reasons of the last two add up to them."""
    registry, metrics = ingest()
    for survey, outcome in packets:
        if isinstance(outcome, FilterReason):
            metrics.filtered(survey, outcome, size_bytes=7)
        elif isinstance(outcome, DeadLetterReason):
            metrics.dead_lettered(survey, outcome, size_bytes=7)
        else:
            metrics.stamped(survey, size_bytes=7)
    samples = [s for family in registry.collect() for s in family.samples]
    total = {
        outcome: sum(s.value for s in samples if s.labels.get("outcome") == outcome and s.name.endswith("_total"))
        for outcome in ("stamped", "filtered", "dead_letter")
    }
    assert sum(total.values()) == len(packets)
    assert value(registry, "convention_packet_bytes_total", "ingest") == 7 * len(packets)
    for outcome, family in (("filtered", "filtered_packets"), ("dead_letter", "dead_letters")):
        assert total[outcome] == sum(s.value for s in samples if s.name == f"convention_{family}_total")


def test_lag_grows_while_the_loop_hangs() -> None:
    """Seconds of lag are worked out at the scrape; a partition that caught up or went away has none."""
    clock = Clock(1000.0)
    registry, metrics = ingest(clock)
    assert value(registry, "convention_lag_seconds", "ingest") == 0
    metrics.position("alerts", 0, messages_behind=7, newest_s=990.0)
    metrics.position("alerts", 1, messages_behind=5, newest_s=960.0)
    metrics.position("alerts", 2, messages_behind=0, newest_s=100.0)
    assert value(registry, "convention_lag_messages", "ingest") == 12
    assert value(registry, "convention_lag_seconds", "ingest") == 40
    clock.time_s = 1100.0
    assert value(registry, "convention_lag_seconds", "ingest") == 140
    metrics.forget("alerts", 1)
    assert value(registry, "convention_lag_seconds", "ingest") == 110
    assert value(registry, "convention_assigned_partitions", "ingest") == 2
    metrics.position("alerts", 0, messages_behind=0, newest_s=1099.0)
    assert value(registry, "convention_lag_seconds", "ingest") == 0


def test_steps_are_timed_even_when_they_raise() -> None:
    """Durations in seconds land in the step's histogram; a failing step is not lost."""
    clock = Clock()
    registry, metrics = classify(clock)

    def run(duration_s: float) -> None:
        with metrics.step(Step.INFER):
            clock.time_s += duration_s
            if duration_s > 1:
                raise OSError

    run(0.5)
    with pytest.raises(OSError):
        run(2.0)
    assert value(registry, "convention_step_duration_seconds_sum", "classify", step="infer") == 2.5
    metrics.took({"infer": 0.25, "prune": 1.0}, {"infer": 0.5, "prune": 0.75})
    assert value(registry, "convention_step_duration_seconds_count", "classify", step="infer") == 3
    assert value(registry, "convention_step_duration_seconds_sum", "classify", step="prune") == 1.0
    with pytest.raises(KeyError), metrics.step(Step.DECODE):
        raise AssertionError("decoding is not a step of classify")


def test_latency_is_measured_from_three_moments() -> None:
    """From the exposure (MJD TAI), the producer's header and ingest; an unknown one and a fast clock do no harm."""
    clock = Clock(unix_time_s(60000.0) + 100.0)
    registry, metrics = classify(clock)
    metrics.published(observed_mjd=60000.0, produced_s=clock.time_s - 10, ingested_s=clock.time_s - 2)
    metrics.published(observed_mjd=None, produced_s=clock.time_s + 5, ingested_s=None)
    for since, total, count in (("observation", 100.0, 1), ("producer", 10.0, 2), ("ingest", 2.0, 1)):
        name = "convention_publish_latency_seconds"
        assert value(registry, f"{name}_sum", "classify", since=since) == pytest.approx(total)
        assert value(registry, f"{name}_count", "classify", since=since) == count


def test_unix_time_of_an_mjd() -> None:
    """MJD 60000.0 TAI is 2023-02-24T23:59:23 UTC (astropy agrees to the microsecond)."""
    from astropy.time import Time

    for mjd in (57754.5, 60000.0, 61368.75):
        assert unix_time_s(mjd) == pytest.approx(Time(mjd, format="mjd", scale="tai").unix, abs=1e-5)


def test_cpu_in_place_of_cuda_is_an_alarm() -> None:
    """The alarm is raised only when CUDA was asked for by name and is not what is used."""
    registry, metrics = classify()
    for requested, used, alarm in (("cuda", "cpu", 1), ("auto", "cpu", 0), ("cuda", "cuda:0", 0), ("cpu", "cpu", 0)):
        metrics.device(requested=requested, used=used)
        assert value(registry, "convention_cuda_fallback", "classify") == alarm
        assert value(registry, "convention_device", "classify", device=used[:4].rstrip(":")) == 1
        assert sum(value(registry, "convention_device", "classify", device=d) for d in ("cpu", "cuda")) == 1


def test_only_bundles_in_use_are_told() -> None:
    """After a switch the old bundle's series is gone."""
    registry, metrics = classify()
    metrics.bundles(["a-1-x"], ["b-1-y"])
    metrics.bundles(["a-2-z"], switched=True)
    samples = {
        (s.labels["place"], s.labels["bundle_id"])
        for family in registry.collect()
        for s in family.samples
        if s.name == "convention_bundle_info"
    }
    assert samples == {("champion", "a-2-z")}
    assert value(registry, "convention_bundle_switches_total", "classify") == 1


def test_restore_progress_covers_all_partitions() -> None:
    """Progress is the share of records applied, 1 when none is under way; a lost partition does not linger."""
    registry, metrics = classify()
    assert value(registry, "convention_restore_progress_ratio", "classify") == 1
    metrics.restoring(0, applied=0, total=100)
    metrics.restoring(1, applied=150, total=300)
    assert value(registry, "convention_restore_progress_ratio", "classify") == 150 / 400
    assert value(registry, "convention_restoring_partitions", "classify") == 2
    metrics.restoring(0, applied=100, total=100)
    metrics.store_closed(1)
    assert value(registry, "convention_restore_progress_ratio", "classify") == 1
    assert value(registry, "convention_restoring_partitions", "classify") == 0
    assert value(registry, "convention_restored_records_total", "classify") == 250


def test_store_sizes_add_up_over_partitions() -> None:
    """Objects, facts and bytes are summed over the partitions held."""
    registry, metrics = classify()
    metrics.store_size(0, num_objects=3, num_facts=30, size_bytes=4096)
    metrics.store_size(1, num_objects=4, num_facts=10, size_bytes=8192)
    metrics.store_rebuilt()
    metrics.log_gap(7)
    metrics.store_size(1, num_objects=5, num_facts=50, size_bytes=8192)
    sizes = [value(registry, f"convention_store_{what}", "classify") for what in ("objects", "facts", "bytes")]
    assert sizes == [8, 80, 12288]
    assert value(registry, "convention_store_rebuilds_total", "classify") == 1
    assert value(registry, "convention_log_gap_records_total", "classify") == 7
    metrics.store_closed(0)
    assert value(registry, "convention_store_objects", "classify") == 5


def test_a_ledger_entry_that_does_not_add_up_shows() -> None:
    """Too many and too few outcomes both count; neither hides the other."""
    registry, metrics = ingest()
    metrics.ledger_entry(covered=10, accounted=10)
    assert value(registry, "convention_ledger_imbalance_offsets_total", "ingest") == 0
    metrics.ledger_entry(covered=10, accounted=9, absent=3)
    metrics.ledger_entry(covered=10, accounted=11)
    assert value(registry, "convention_ledger_imbalance_offsets_total", "ingest") == 2
    assert value(registry, "convention_ledger_absent_offsets_total", "ingest") == 3
    assert value(registry, "convention_ledger_offsets_total", "ingest") == 30


def test_classify_counts_outcomes_classes_and_reasons() -> None:
    """Outcomes as reported; classes of the classified records, reasons of the abstained, nothing of the too short."""
    registry, metrics = classify()
    metrics.outcome(ClassifyOutcome.CLASSIFIED, 5)
    metrics.scored(record(Status.CLASSIFIED, predicted_class="SNIa"))
    metrics.scored(record(Status.ABSTAINED, reason="novel"))
    metrics.scored(record(Status.TOO_SHORT, reason="frames"))
    assert value(registry, "convention_log_records_total", "classify", outcome="classified") == 5
    for name, label, expected in (
        ("classifications", "class", {"AGN": 0, "SNIa": 1, "SNOther": 0, "Variable": 0}),
        ("abstentions", "reason", {"novel": 1, "low_confidence": 0}),
    ):
        for known, count in expected.items():
            assert value(registry, f"convention_{name}_total", "classify", **{label: known}) == count


def test_cache_challenger_and_incidents_are_counted() -> None:
    """What happens now and then is counted by its kind."""
    registry, metrics = classify()
    metrics.token_cache("a", hits=90, misses=10, size_bytes=1 << 20)
    metrics.token_cache("a", hits=1, misses=0, size_bytes=1 << 10)
    metrics.challenged(duration_s=0.25, agreed=6, disagreed=2)
    metrics.rebalanced(Rebalance.LOST)
    metrics.batch_retried()
    metrics.batch_dropped()
    for name, labels, expected in (
        ("token_cache_lookups_total", {"result": "hit"}, 91),
        ("token_cache_bytes", {}, 1024),
        ("challenger_scores_total", {"result": "disagreed"}, 2),
        ("challenger_duration_seconds_sum", {}, 0.25),
        ("rebalances_total", {"event": "lost"}, 1),
        ("batch_retries_total", {}, 1),
        ("batches_dropped_total", {}, 1),
    ):
        assert value(registry, f"convention_{name}", "classify", **labels) == expected


def test_schema_pauses_are_a_state_and_a_count() -> None:
    """Waiting partitions go up and down; the number of pauses only goes up."""
    registry, metrics = ingest()
    metrics.schema_paused()
    metrics.schema_paused()
    metrics.schema_resumed()
    assert value(registry, "convention_schema_unavailable_partitions", "ingest") == 1
    assert value(registry, "convention_schema_unavailable_pauses_total", "ingest") == 2


def test_reports_while_scraped() -> None:
    """Partitions come and go in one thread while another scrapes: no error, and the end state is right."""
    registry, metrics = classify()
    stop = threading.Event()

    def scrape() -> int:
        num_scrapes = 0
        while not stop.is_set():
            generate_latest(registry)
            num_scrapes += 1
        return num_scrapes

    pool = ThreadPoolExecutor(1)
    scraper = pool.submit(scrape)
    for turn in range(2000):
        metrics.position("stamps", turn % 7, messages_behind=turn, newest_s=0.0)
        metrics.restoring(turn % 5, applied=turn % 3, total=2)
        metrics.store_size(turn % 5, num_objects=1, num_facts=1, size_bytes=1)
        metrics.forget("stamps", turn % 7)
    stop.set()
    pool.shutdown()
    assert scraper.result() > 0
    assert metrics.lag_messages() == 0


def test_both_roles_and_the_process_fit_one_registry_each() -> None:
    """The registry of a worker also tells memory and CPU of its process."""
    registry = worker_registry()
    metrics: RoleMetrics = IngestMetrics(registry, surveys=("ztf",), version="1")
    text = generate_latest(registry).decode()
    assert "process_resident_memory_bytes" in text
    assert all(family.name in text for family in metrics.families)
