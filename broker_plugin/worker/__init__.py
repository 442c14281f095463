"""The two roles, ingest and classify, how they start and stop, and the engine that answers a trigger."""
