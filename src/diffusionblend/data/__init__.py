"""What is measured and made: scans and volumes in their units. Nothing here knows of files."""
