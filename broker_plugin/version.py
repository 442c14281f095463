"""Version of the plugin, which stands in every record."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def plugin_version() -> str:
    """Version of the installed distribution; ``0+source`` when run from a checkout that is not installed."""
    try:
        return version("convention-broker")
    except PackageNotFoundError:
        return "0+source"
