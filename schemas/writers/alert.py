"""What every packet writer takes: the fields of one alert, its stamps, and the container that carries a record."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import numpy as np
from numpy.typing import NDArray

# a fixed sync marker keeps a container's bytes a function of its record
SYNC_MARKER: Final = b"convention-brok!"


@dataclass(frozen=True, slots=True)
class AlertFields:
    """One detection. object_id, source_id: decimal integers where the survey's are (ZTF's candid, both of LSST's).

    mjd: TAI, of what the survey's own time says (start of the exposure for ZTF, its middle otherwise). ra, dec: deg.
    flux_njy, flux_err_njy: difference flux. psf_fwhm_arcsec: None unknown. withdrawn_mjd: TAI, of the survey taking
    the source back; such a packet says the same as the one it takes back.
    """

    object_id: str
    source_id: str
    mjd: float
    band: str
    ra: float
    dec: float
    flux_njy: float
    flux_err_njy: float
    psf_fwhm_arcsec: float | None = None
    reliability: float | None = None
    is_moving: bool = False
    withdrawn_mjd: float | None = None


@dataclass(frozen=True, slots=True)
class Stamps:
    """Calibrated stamps on the survey's native pixels: float32 [H, W], nJy, NaN where masked; None where absent."""

    science: NDArray[np.float32] | None
    difference: NDArray[np.float32] | None
    template: NDArray[np.float32] | None = None

    def named(self) -> tuple[tuple[str, NDArray[np.float32] | None], ...]:
        """The three in the order packets have them."""
        return (("science", self.science), ("template", self.template), ("difference", self.difference))


def container(schema: Any, record: dict[str, Any]) -> bytes:
    """An Avro object container of one record under a parsed schema."""
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record], sync_marker=SYNC_MARKER)
    return buffer.getvalue()
