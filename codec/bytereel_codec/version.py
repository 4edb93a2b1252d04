"""The version of this software, as the package metadata takes it."""

__version__ = "0.2.0.dev0"
SOFTWARE = f"bytereel {__version__}"
