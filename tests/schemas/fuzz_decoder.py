"""Decodes mutated packets in a process of its own and prints what became of them as JSON.

``python -m tests.schemas.fuzz_decoder SEED COUNT [FOLDER]``: with a folder, the packets in it are mutated too. A
packet that takes longer than LIMIT_S ends the process by SIGALRM, after its number was written to standard error; so
does an exception that is neither PacketError nor SchemaUnavailable, with its traceback.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
import time
from collections import Counter

from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from tests.schemas.fuzz_packets import explicit_packets, mutated_packets, sound_packets

LIMIT_S = 20
KILOBYTE = 1024


def peak_bytes() -> int:
    """The most memory this process has held (Linux: ru_maxrss is in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


class Fuzz:
    """Counts outcomes and times."""

    def __init__(self) -> None:
        self._decoder = PacketDecoder(keep_native=True)
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0

    def decode(self, name: str, payload: bytes) -> None:
        """Decode one packet within the limit."""
        sys.stderr.write(f"{name}\n")
        signal.alarm(LIMIT_S)
        started = time.perf_counter()
        try:
            self.outcomes[type(self._decoder.decode(payload)).__name__] += 1
        except PacketError as error:
            self.outcomes[error.reason.value] += 1
        except SchemaUnavailable:
            self.outcomes["schema unavailable"] += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
        signal.alarm(0)


def main(seed: int, count: int) -> None:
    attacks = explicit_packets()
    fuzz = Fuzz()
    for packet in sound_packets():
        with contextlib.suppress(PacketError):
            PacketDecoder().decode(packet)
    before = peak_bytes()
    for name, packet in attacks.items():
        fuzz.decode(name, packet)
    attacked = peak_bytes() - before
    for number, packet in enumerate(mutated_packets(seed, count)):
        fuzz.decode(f"seed {seed} number {number}", packet)
    told = {"outcomes": fuzz.outcomes, "slowest_s": fuzz.slowest_s, "attacks_bytes": attacked}
    print(json.dumps(told | {"growth_bytes": peak_bytes() - before, "num_attacks": len(attacks)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
