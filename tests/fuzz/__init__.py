"""Spoilt input for every parser of the wire. A package proper: beside it, bench/fuzz.py has the same name."""
