"""Geometries of other packages, taken over from their objects and files, and ours as theirs."""
