"""solojax: instance segmentation by locations, in JAX and Flax."""

__version__ = "0.1.0"
