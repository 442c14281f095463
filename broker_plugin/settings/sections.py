"""One frozen settings object: flag > environment > file > default.

Environment names are ``CONVENTION_<SECTION>__<KEY>``; the file is TOML with one table a section; flags are
``--set section.key=value``. An unknown key or a bad value is an error that names the key and where it came from;
secrets print as stars.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX: Final = "CONVENTION_"


class Section(BaseModel):
    """Base of every table: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Connection(Section):
    """One Kafka cluster as one principal sees it."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="HOST:PORT[,HOST:PORT...]")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: Path | None = Field(None, description="CA certificates, PEM")
    ssl_certificate_location: Path | None = Field(None, description="client certificate, PEM")
    ssl_key_location: Path | None = Field(None, description="client key, PEM")
    ssl_key_password: SecretStr | None = None

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            match = re.fullmatch(r"\s*(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})\s*", address)
            if match is None or not 0 < int(match[1]) < 65536:
                raise ValueError(f"{address.strip()!r} is not HOST:PORT")
        return ",".join(address.strip() for address in value.split(","))

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Connection:
        sasl = self.security_protocol.startswith("SASL")
        if sasl and self.sasl_mechanism is None:
            raise ValueError(f"sasl_mechanism is needed with security_protocol {self.security_protocol}")
        if sasl and self.sasl_mechanism != "OAUTHBEARER" and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"sasl_username and sasl_password are needed with {self.sasl_mechanism}")
        if not sasl and self.sasl_mechanism is not None:
            raise ValueError(f"sasl_mechanism is set but security_protocol is {self.security_protocol}")
        return self


class RegistrySettings(Connection):
    """A cluster with a schema registry beside it."""

    registry_url: str | None = Field(
        None,
        description="Confluent-compatible schema registry, http(s)://HOST[:PORT]",
        examples=["http://127.0.0.1:8081"],
    )
    registry_username: str | None = None
    registry_password: SecretStr | None = None

    @field_validator("registry_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", value):
            raise ValueError("expected http(s)://HOST[:PORT][/PATH], with the user in registry_username")
        return value

    @model_validator(mode="after")
    def _user_is_whole(self) -> RegistrySettings:
        if (self.registry_username is None) != (self.registry_password is None):
            raise ValueError("registry_username and registry_password go together")
        return self


class InputSettings(RegistrySettings):
    """Where the surveys' alerts come from; read access is all that is asked for.

    The registry is asked for the schema ids that are not bundled.
    """

    topics: tuple[str, ...] = Field(("^ztf_.*_programid1$",), description="names, or regular expressions from ^")
    topic_refresh_s: PositiveFloat = Field(30.0, description="how often regular expressions look for new topics")
    group: str = Field("convention-ingest", min_length=1)
    start: Literal["earliest", "latest"] = Field("earliest", description="where a new group starts without a ledger")

    @field_validator("topics")
    @classmethod
    def _some_topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("at least one topic name is needed")
        for topic in value:
            if not topic.startswith("^") and not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
                raise ValueError(f"{topic!r} is no topic name (a regular expression starts with ^)")
            try:
                re.compile(topic)
            except re.error as error:
                raise ValueError(f"{topic!r} is not a regular expression: {error}") from error
        return value


class InternalSettings(Connection):
    """The stamp log, the dead letters and the ledger."""

    topic_prefix: str = Field("convention", pattern=r"^[A-Za-z0-9._-]+$")
    partitions: PositiveInt = Field(8, description="of the stamp log; cannot change while a store exists")
    replication: PositiveInt = 1
    retention_days: PositiveFloat = Field(400.0, description="of the stamp log: how far back a store can be rebuilt")
    dead_letter_retention_days: PositiveFloat = 30.0
    ledger_retention_days: PositiveFloat = 400.0
    max_message_bytes: PositiveInt = Field(
        4_194_304, description="largest alert packet; dead letters take 64 kB more"
    )
    group: str = Field("convention-classify", min_length=1)

    @property
    def stamp_log_topic(self) -> str:
        """Observations and withdrawals, keyed by object."""
        return f"{self.topic_prefix}.stamps"

    @property
    def dead_letter_topic(self) -> str:
        """Packets that could not be read."""
        return f"{self.topic_prefix}.dead-letters"

    @property
    def ledger_topic(self) -> str:
        """What became of every offset."""
        return f"{self.topic_prefix}.ledger"


class OutputSettings(RegistrySettings):
    """Where classifications go; with a registry in Confluent wire format, else as plain Avro."""

    topic: str = Field("convention.classifications", min_length=1)
    partitions: PositiveInt = 8
    replication: PositiveInt = 1
    elasticc_topic: str | None = Field(None, description="a second copy as DESC brokerClassification v0_9_1")
    elasticc_broker_name: str = "convention-broker"
    shadow_topic: str = Field("convention.classifications.shadow", min_length=1, description="of the challengers")


class SkySettings(Section):
    """A box on the sky, degrees ICRS; ra_min > ra_max wraps through 0."""

    ra_min: float = Field(0.0, ge=0, le=360)
    ra_max: float = Field(360.0, ge=0, le=360)
    dec_min: float = Field(-90.0, ge=-90, le=90)
    dec_max: float = Field(90.0, ge=-90, le=90)


class IngestSettings(Section):
    """How packets become observations."""

    programids: tuple[int, ...] = Field((1,), description="ZTF programs let through; [] = all")
    min_reliability: float | None = Field(None, ge=0, le=1)
    reject_moving: bool = True
    sky: SkySettings | None = None
    keep_native: bool = Field(False, description="also keep the packet's own cutout bytes in the stamp log")
    batch_size: PositiveInt = 500
    batch_deadline_s: PositiveFloat = 0.5
    max_dead_letter_share: float = Field(0.5, gt=0, le=1, description="more in a window stops the worker")
    dead_letter_window: PositiveInt = Field(1000, description="packets a window holds")


class ClassifySettings(Section):
    """How sequences become classifications."""

    bundles: tuple[Path, ...] = Field((), description="bundle or bundle-store directories, one a grid; [] = shipped")
    challengers: tuple[Path, ...] = Field((), description="scored in shadow beside the bundle of the same grid")
    state_dir: Path = Path("state")
    batch_size: PositiveInt = 256
    batch_deadline_s: PositiveFloat = 0.5
    min_frames: PositiveInt | None = Field(None, description="overrides the bundle's eligibility")
    min_nights: PositiveInt | None = None
    min_bands: PositiveInt | None = None
    max_frames: PositiveInt | None = Field(None, description="overrides the bundle's N")
    max_days: PositiveFloat | None = Field(None, description="overrides the bundle's D")
    late_days: PositiveFloat = Field(
        30.0,
        description="an object leaves the state once its newest frame is max_days + this behind the partition's "
        "newest; packets of it that come still later start it anew",
    )
    publish_too_short: bool = True
    coalesce: bool = False
    coalesce_lag: PositiveInt = Field(5000, description="messages of lag past which only newest triggers are scored")
    exactly_once: bool = False
    class_prior: dict[str, PositiveFloat] | None = Field(None, description="re-weights the probabilities")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt = 1
    token_cache_mb: NonNegativeFloat = Field(512.0, description="of each bundle and challenger that scores")
    token_cache_dir: Path | None = Field(None, description="keeps the token cache over a restart; one a process")
    drift_references: Path | None = Field(
        None, description="folder of what bundles were trained on, NAME-VERSION.json; a bundle's own come first"
    )
    reload_interval_s: PositiveFloat = Field(5.0, description="how often a promoted bundle is looked for")


class WorkerSettings(Section):
    """Life cycle, health and metrics."""

    instance_id: str | None = Field(None, description="static membership: group.instance.id, one a process")
    session_timeout_ms: PositiveInt = 45_000
    heartbeat_interval_ms: PositiveInt = 3_000
    max_poll_interval_ms: PositiveInt = 300_000
    drain_deadline_s: PositiveFloat = 20.0
    delivery_timeout_s: PositiveFloat = Field(60.0, description="how long a broker outage is retried")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(9464, ge=0, le=65535, description="0 = any free port; classify takes the next one")

    @model_validator(mode="after")
    def _times_fit(self) -> WorkerSettings:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms must be at most a third of session_timeout_ms")
        if self.delivery_timeout_s * 1000 >= self.max_poll_interval_ms:
            raise ValueError(
                "max_poll_interval_ms must be longer than delivery_timeout_s, or an outage that is waited out puts "
                "the worker out of its group"
            )
        return self


class LogSettings(Section):
    """Structured logs on standard output."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else json")


class Settings(BaseSettings):
    """Every setting of the worker, validated; see the module's docstring for the sources."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )
    input: InputSettings = InputSettings()
    internal: InternalSettings = InternalSettings()
    output: OutputSettings = OutputSettings()
    ingest: IngestSettings = IngestSettings()
    classify: ClassifySettings = ClassifySettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _exactly_once_needs_one_cluster(self) -> Settings:
        if self.classify.exactly_once and self.internal.bootstrap_servers != self.output.bootstrap_servers:
            raise ValueError(
                "classify.exactly_once needs the stamp log and the output on one cluster: "
                f"internal.bootstrap_servers is {self.internal.bootstrap_servers}, "
                f"output.bootstrap_servers is {self.output.bootstrap_servers}"
            )
        return self
