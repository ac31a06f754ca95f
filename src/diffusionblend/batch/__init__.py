"""Many scans: shared among processes and machines, and done once."""
