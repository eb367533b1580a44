"""From a MongoDB of plant photos to an offline plant identifier in the browser."""

__version__ = "0.1.0"
