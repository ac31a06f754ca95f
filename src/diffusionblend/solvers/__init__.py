"""The data side of a reconstruction: conjugate gradients, proximal steps, total variation."""
