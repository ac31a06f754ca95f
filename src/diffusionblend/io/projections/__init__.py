"""Measured projections of others, read, understood, corrected, and made into a scan."""
