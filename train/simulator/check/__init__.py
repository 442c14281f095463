"""Measured back from rendered images: what the simulation is held to, and whether nuisances tell the class."""
