"""What a source of projections holds: each file format, and what it states of itself."""
