"""The one call, from a scan to a volume: the task, its estimate, samples, the result."""
