"""How far a replay has come, in one small file that is replaced as a whole: after a death it says where to go on."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from schemas.errors import SettingsError

# in the folder of a replay's output
WORK_FOLDER: Final = ".replay"
CHECKPOINT_NAME: Final = "checkpoint.json"


@dataclass(slots=True)
class Checkpoint:
    """How far it has come.

    num_packets: of the stream, all done with; num_parts: output parts that hold what became of them; counts: outcome
    -> packets; places: topic partition -> an offset before which nothing is that is not counted here; shards: stamps
    given to each shard of an offline replay; num_left_out: packets that were not selected, known at the end;
    readable: a replay into Kafka found a packet that can be decoded; done: the archive's end was reached.
    """

    job: dict[str, Any]
    num_packets: int = 0
    num_parts: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, int] = field(default_factory=dict)
    shards: list[int] = field(default_factory=list)
    num_left_out: int = 0
    readable: bool = False
    done: bool = False

    @property
    def job_id(self) -> str:
        """A short name of the job, the same whenever it is asked for again."""
        return blake2b(json.dumps(self.job, sort_keys=True).encode(), digest_size=8).hexdigest()

    def write(self, path: Path) -> None:
        """Replace the file; after a power cut it is the old or the new one."""
        partial = path.with_name(path.name + ".partial")
        values = {name: getattr(self, name) for name in self.__slots__}
        with partial.open("w", encoding="utf-8") as file:
            json.dump(values, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def open_checkpoint(path: Path, job: dict[str, Any]) -> Checkpoint:
    """The checkpoint of ``job`` at ``path``: where it was left, or a fresh one.

    SettingsError when the file is of another job (other files, selection, order, faults, bundles or version), naming
    what differs, or is no checkpoint.
    """
    if not path.exists():
        return Checkpoint(job)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Checkpoint(**{**values, "counts": Counter(values["counts"])})
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is no checkpoint of a replay: {error!r}") from error
    asked = json.loads(json.dumps(job))
    differing = sorted(name for name in asked.keys() | found.job.keys() if asked.get(name) != found.job.get(name))
    if differing:
        raise SettingsError(
            f"{path} is of another replay (it differs in {', '.join(differing)}): go on with the same arguments, "
            "or name another place for the output"
        )
    return found


def recorded_shards(path: Path) -> int:
    """How many shards the replay at ``path`` was begun with, 0 when none was begun."""
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # ``open_checkpoint`` says what is wrong with it
