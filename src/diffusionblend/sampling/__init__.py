"""The diffusion side of a reconstruction: noise levels, partitions, blended scores."""
