"""What can be watched from outside: metrics, drift, health, logs."""
