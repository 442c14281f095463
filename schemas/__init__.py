"""Data contracts: alert packets in, observations, views and sequences out. Pure numpy: no torch, no Kafka.

Reading order: ``errors`` and ``bands``; ``decode`` (packet bytes -> outcome, by ``surveys/``);
``observation`` (what the stamp log carries); ``view`` (which facts a trigger sees);
``sequence`` (what a network sees); ``classification``, ``ledger``, ``dead_letter`` (what goes out).
"""
