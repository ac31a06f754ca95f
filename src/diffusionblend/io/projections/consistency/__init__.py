"""Whether views agree with each other and with the stated beam, and where the axis is."""
