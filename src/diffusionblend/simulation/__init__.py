"""Simulate scans of a known volume, with separate projectors that no method uses."""
