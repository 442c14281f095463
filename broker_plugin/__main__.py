"""``python -m broker_plugin`` is ``convention-broker``."""

from broker_plugin.cli import entry

if __name__ == "__main__":
    entry()
