"""Checks an MSI against what is promised, under Wine. `check.py` is the way in; standard library only, Python 3.11 or newer."""
