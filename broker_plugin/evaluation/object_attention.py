"""What the attention of the bundle that classified an object looked at, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from broker_plugin.evaluation.object_view import ObjectView, stamps_of
from broker_plugin.evaluation.stamp_archive import load_sequences
from schemas.errors import BundleError


def with_attention(view: ObjectView, records: Path, stamps: Path | None, bundles: Sequence[Path]) -> ObjectView:
    """The view with each frame's share of the attention, of the bundle that made the last record.

    records, stamps: as for ``load_object``; bundles: where that bundle is looked for. The view stays as it is when it
    has no stamps or the network has no such attention. BundleError when no bundle is the record's.
    """
    from model.attention import attention_shares
    from model.bundle import load_bundle
    from model.bundle_store import resolve_bundle
    from model.ensemble import Ensemble, build_members

    place = stamps_of(records, stamps)
    if place is None or view.sequence is None:
        return view
    wanted = view.records[-1].classification.bundle_id
    found = (load_bundle(resolve_bundle(path)) for path in bundles)
    bundle = next((bundle for bundle in found if bundle.bundle_id == wanted), None)
    if bundle is None:
        raise BundleError(f"the records are of bundle {wanted}: name its directory to see what it looked at")
    name = (view.survey, view.object_id)
    seen = load_sequences(place, [name], rule=bundle.spec.view_rule)(*name)
    if seen is None or not len(seen):
        return view
    share_L = attention_shares(Ensemble(build_members(bundle.spec.network, bundle.states)), seen)
    if share_L is None:
        return view
    shares = dict(zip(seen.source_ids, share_L.tolist(), strict=True))
    shown = [shares.get(source_id, 0.0) for source_id in view.sequence.source_ids]
    return replace(view, attention_L=np.array(shown, np.float32))
