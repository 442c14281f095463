"""What became of every alert: the ledger, dead letters, and their way back."""
