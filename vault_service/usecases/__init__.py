"""One file, one verb, one straight function. Use cases never log: they return, raise or record."""
