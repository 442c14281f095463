"""Doubles for tests, in-memory and deterministic. They keep the contracts of what they stand for and are never used
in production."""
