"""The version of this software, as the package metadata takes it."""

__version__ = "0.1.0"
SOFTWARE = f"bytereel {__version__}"
