"""One frozen settings object: flag > environment > file > default.

Environment names are ``CONVENTION_<SECTION>__<KEY>``; the file is TOML with one table a section; flags are
``--set section.key=value``. An unknown key or a bad value is an error that names the key and where it came from;
secrets print as stars.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from schemas.errors import SettingsError

ENV_PREFIX: Final = "CONVENTION_"
# names with our prefix that are not settings: they steer the tests
OTHER_ENV_NAMES: Final = frozenset({"CONVENTION_SAMPLE_DATA", "CONVENTION_REQUIRE", "CONVENTION_CONFIG"})


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


class InputSettings(Connection):
    """Where the surveys' alerts come from; read access is all that is asked for."""

    topics: tuple[str, ...] = Field(("^ztf_.*_programid1$",), description="names, or regular expressions from ^")
    group: str = Field("convention-ingest", min_length=1)
    start: Literal["earliest", "latest"] = Field("earliest", description="where a new group starts without a ledger")
    registry_url: str | None = Field(None, description="Confluent-compatible registry of the survey")

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


class OutputSettings(Connection):
    """Where classifications go."""

    topic: str = Field("convention.classifications", min_length=1)
    partitions: PositiveInt = 8
    replication: PositiveInt = 1
    elasticc_topic: str | None = Field(None, description="a second copy as DESC brokerClassification v0_9_1")
    elasticc_broker_name: str = "convention-broker"
    registry_url: str | None = Field(None, description="write Confluent wire format through this registry")


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

    bundles: tuple[Path, ...] = Field((), description="bundle or bundle-store directories, one a grid; () = shipped")
    challengers: tuple[Path, ...] = Field((), description="scored in shadow beside the bundle of the same grid")
    state_dir: Path = Path("state")
    batch_size: PositiveInt = 256
    batch_deadline_s: PositiveFloat = 0.5
    min_frames: PositiveInt | None = Field(None, description="overrides the bundle's eligibility")
    min_nights: PositiveInt | None = None
    min_bands: PositiveInt | None = None
    max_frames: PositiveInt | None = Field(None, description="overrides the bundle's N")
    max_days: PositiveFloat | None = Field(None, description="overrides the bundle's D")
    publish_too_short: bool = True
    coalesce: bool = False
    coalesce_lag: PositiveInt = Field(5000, description="messages of lag past which only newest triggers are scored")
    exactly_once: bool = False
    class_prior: dict[str, PositiveFloat] | None = Field(None, description="re-weights the probabilities")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt = 1
    token_cache_mb: NonNegativeFloat = 512.0
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
    def _heartbeat_fits(self) -> WorkerSettings:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms must be at most a third of session_timeout_ms")
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


def load_settings(
    file: Path | None = None,
    *,
    flags: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from flags (``section.key=value``), environment, TOML file and defaults, in that order.

    ``environ`` is looked at for unknown names only; values come from the process environment. SettingsError names
    every wrong key and its source.
    """
    names = os.environ if environ is None else environ
    from_flags = _parse_flags(flags)
    from_file = _read_file(file)
    _refuse_unknown_names(names)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = (init_settings, env_settings)
            return sources if file is None else (*sources, TomlConfigSettingsSource(settings_cls, file))

    try:
        return Loaded(**from_flags)
    except ValidationError as error:
        lines = [_explain(problem, from_flags, names, from_file, file) for problem in error.errors()]
        raise SettingsError("; ".join(lines)) from error
    except SourceError as error:
        raise SettingsError(f"environment: {error}: lists and tables are written as JSON") from error


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} is not TOML: {error}") from error


def _parse_flags(flags: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag in flags:
        key, separator, text = flag.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot and section and name):
            raise SettingsError(f"--set {flag!r}: expected section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        table = values.setdefault(section, {})
        *parents, leaf = name.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
        if leaf in table:
            raise SettingsError(f"--set {key} is given twice")
        table[leaf] = value
    return values


def _refuse_unknown_names(names: Mapping[str, str]) -> None:
    for name in names:
        if not name.upper().startswith(ENV_PREFIX) or name.upper() in OTHER_ENV_NAMES:
            continue
        section, _, key = name[len(ENV_PREFIX) :].lower().partition("__")
        if section not in Settings.model_fields or not key:
            sections = ", ".join(Settings.model_fields)
            raise SettingsError(
                f"environment variable {name} is no setting: expected {ENV_PREFIX}<SECTION>__<KEY> with a section "
                f"of {sections}"
            )


def _explain(
    problem: Any,
    from_flags: dict[str, Any],
    names: Mapping[str, str],
    from_file: dict[str, Any],
    file: Path | None,
) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "settings"
    if _holds(from_flags, location):
        source = f"--set {key}"
    elif any(name.upper() == ENV_PREFIX + "__".join(location[:2]).upper() for name in names):
        source = f"environment variable {ENV_PREFIX}{'__'.join(location[:2]).upper()}"
    elif file is not None and _holds(from_file, location):
        source = f"file {file}"
    else:
        source = "default"
    if problem["type"] == "extra_forbidden":
        return f"{key} ({source}): no such setting{_suggestion(location)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key} ({source}): {message}"


def _holds(values: Any, location: Sequence[str]) -> bool:
    for part in location:
        if isinstance(values, list):
            return True
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return bool(location)


def _suggestion(location: Sequence[str]) -> str:
    known: list[str] = list(Settings.model_fields)
    if len(location) > 1 and location[0] in Settings.model_fields:
        section = Settings.model_fields[location[0]].annotation
        known = list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
    close = difflib.get_close_matches(location[-1], known, n=1)
    return f", did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
