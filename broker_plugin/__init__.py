"""The streaming plugin: Kafka in, Kafka out, state, metrics and the command line."""
