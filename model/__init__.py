"""Networks, ensembles and bundles (PyTorch). Knows no Kafka and no command line."""
