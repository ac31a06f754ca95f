"""From counts to line integrals: fields, flux, noise, and the faults of detectors."""
