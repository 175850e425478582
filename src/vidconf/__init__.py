"""vidconf: a native client for video conferences, and the central server it connects to."""

__version__ = "0.1.0"
