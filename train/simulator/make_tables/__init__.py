"""One script a table: ``python -m train.simulator.make_tables.NAME FOLDER`` reads the sources and rewrites the
table."""
