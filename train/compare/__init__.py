"""The comparison: rows of networks and controls on the same objects, cell by cell, and the table made of the
cells."""
