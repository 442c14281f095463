"""The registered networks, by name. Knowing their names does not import torch; creating one does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from schemas.bands import BANDS

if TYPE_CHECKING:
    from model.network import Network


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """Where a network lives: module, class, config's module and class; where its design is from; the band sets it is
    compared with."""

    module: str
    network_class: str
    config_module: str
    config_class: str
    source: str
    band_sets: tuple[tuple[str, ...], ...]


_UGRIZ: Final = BANDS[:5]
_ENTRIES: Final[dict[str, NetworkEntry]] = {
    "convention": NetworkEntry(
        "model.convention",
        "Convention",
        "model.convention_config",
        "ConventionConfig",
        "ConvEntion, corrected: masks, times, query-dependent attention, difference plane",
        (BANDS,),
    ),
    "convention_2023": NetworkEntry(
        "model.convention_2023",
        "Convention2023",
        "model.convention_2023",
        "Convention2023Config",
        "Bairouk et al. 2023, A&A 673 A141 (arXiv:2304.01236)",
        (_UGRIZ, ("g",)),
    ),
    "cnn_gru": NetworkEntry(
        "model.cnn_gru",
        "CnnGru",
        "model.recurrent",
        "RecurrentConfig",
        "after Gomez et al. 2020",
        (_UGRIZ, ("g",)),
    ),
    "cnn_lstm": NetworkEntry(
        "model.cnn_lstm",
        "CnnLstm",
        "model.recurrent",
        "RecurrentConfig",
        "after Carrasco-Davis et al. 2019",
        (_UGRIZ, ("g",)),
    ),
}


def network_names() -> tuple[str, ...]:
    """Names that ``create`` knows."""
    return tuple(_ENTRIES)


def network_entry(name: str) -> NetworkEntry:
    """The entry of a name; ValueError names the known ones when it is not registered."""
    try:
        return _ENTRIES[name]
    except KeyError:
        raise ValueError(f"unknown network {name!r}: expected one of {', '.join(_ENTRIES)}") from None


def create(name: str, **config: Any) -> Network:
    """A new network with random weights (seed torch before). ValueError for an unknown name or config key."""
    entry = network_entry(name)
    config_class = getattr(import_module(entry.config_module), entry.config_class)
    known = {field.name for field in fields(config_class)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise ValueError(f"network {name} has no setting {', '.join(unknown)}: expected {', '.join(sorted(known))}")
    network: Network = getattr(import_module(entry.module), entry.network_class)(config_class(**config))
    return network
