"""The audit log: written to a spool file before the view runs, drained into the database, read from there."""
