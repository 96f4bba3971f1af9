"""The command line: what operators live in."""
