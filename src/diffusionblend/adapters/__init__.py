"""This package and others: their operators and denoisers as ours, and ours as theirs."""
