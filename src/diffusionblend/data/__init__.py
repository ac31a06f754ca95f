"""Scans and volumes in their units, independent of files."""
