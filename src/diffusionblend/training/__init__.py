"""Training of priors by recipes."""
