"""Newer versions: asked for, believed only when signed, told, and of the portable program put in place."""
