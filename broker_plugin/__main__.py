"""``python -m broker_plugin`` is ``convention-broker``."""

from broker_plugin.cli import entry

entry()
