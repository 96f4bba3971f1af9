"""Campaigns against the whole service: what goes wrong, how often, and that nothing was lost.

Each module plays one campaign of any size and returns what it found; the tests here play it in full
(``make test-long``) and write ``bench/results/``, those in tests/integration a short sample.
"""
