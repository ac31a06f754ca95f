"""The Helsinki Tomography Challenge 2022: measured discs of acrylic from a part of a turn."""
