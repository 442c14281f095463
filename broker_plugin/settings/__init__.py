"""Settings: their sections, where they come from, what is said of wrong ones."""
