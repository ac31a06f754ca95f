"""What lies beside a volume: record, provenance, saved states and steps."""
