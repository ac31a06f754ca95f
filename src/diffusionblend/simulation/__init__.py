"""Scans of a known volume, by projectors of their own that no method uses."""
