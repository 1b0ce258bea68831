"""swagent: turns what the whole Heat stack knows into what this machine is."""

__version__ = "0.1.0"
