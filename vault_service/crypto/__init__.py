"""Envelopes and their keys; the only room that imports the cipher library."""
