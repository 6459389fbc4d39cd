"""The database: tables, reads and writes. It decides nothing."""
