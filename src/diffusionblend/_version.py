"""The version of the package, for what every module may import."""

__version__ = "0.1.0"
