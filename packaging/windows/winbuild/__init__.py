"""Builds the Windows installer on Linux. `build.py` is the way in; standard library only, Python 3.11 or newer."""
