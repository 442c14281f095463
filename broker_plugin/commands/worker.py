"""``worker``: both roles as child processes, or one in the foreground."""

from __future__ import annotations

import argparse
from typing import Final

from broker_plugin.commands.common import add_settings_arguments, settings_from

HELP: Final = "Run the broker worker: alerts in, classifications out. Without --role, one child process a role."
EXAMPLE: Final = "convention-broker worker --config settings.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings arguments and ``--role``."""
    add_settings_arguments(parser)
    parser.add_argument("--role", choices=("ingest", "classify"), help="run only this role, in the foreground")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM; 1 when a role failed."""
    settings = settings_from(args)
    from model.bundle_store import resolve_bundle

    for path in (*settings.classify.bundles, *settings.classify.challengers):
        resolve_bundle(path)  # a missing bundle is said before anything is started
    from broker_plugin.kafka.topics import require_brokers
    from broker_plugin.worker.worker import BROKERS, run_both, run_role

    if args.role is not None:
        return run_role(settings, args.role)
    require_brokers(settings, *BROKERS["ingest"])  # said once, not by each role
    arguments = [f"--set={override}" for override in args.overrides]
    if args.config is not None:
        arguments.append(f"--config={args.config}")
    return run_both(arguments, drain_deadline_s=settings.worker.drain_deadline_s)
