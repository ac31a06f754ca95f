"""What the machine has: where to compute, and how much memory there is."""
