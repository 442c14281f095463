"""Stamps by object, on disk: what was observed, in which order it counts, and what a trigger sees of it."""
