"""Pictures of arrays: planes, grey scales, colours, sheets, scanners, and HTML for notebooks."""
