"""Replay of archived alerts: the worker's path with an archive in front, and files or a Kafka topic behind."""
