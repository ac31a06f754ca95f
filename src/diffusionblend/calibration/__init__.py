"""The attenuation of water, from the scan alone."""
