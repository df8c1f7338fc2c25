"""The cloud port (``port.py``) and one package for each provider dialect behind it."""
