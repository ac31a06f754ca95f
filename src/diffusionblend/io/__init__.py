"""Files: scans, volumes of every format, projections of scanners, and TOML."""
