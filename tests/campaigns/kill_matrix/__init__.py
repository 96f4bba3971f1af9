"""SIGKILL at every point of a refresh, thousands of times: what is lost, and what is not.

``python -m tests.campaigns.kill_matrix --runs 10000 --chunk-s 480 --resume FILE`` works in chunks
that a later call goes on from; ``make kill-matrix`` does all of them.

One run: a victim process refreshes one grant with the real engine, PostgreSQL, disk, TLS and the
scripted authorization server, and dies at one moment (``moments``). It is started again on its
spool, alone or beside two replicas that live, or without its spool. Once the attempt is resolved
the authorization server's ledger decides whether the grant was lost (``authserver.loss``), and the
grant is used once more.

- ``plan``: which runs there are; run n is always the same one.
- ``moments``, ``mortal``: where a victim dies, by sub classes of the real adapters alone.
- ``life``: what a process that was killed had reached, in memory that survives it.
- ``vault``: the engine from real adapters. ``place``: the servers. ``slot``: a fork server, which
  has imported everything and has no loop, thread or connection.
- ``victim``, ``rival``, ``successor``: the processes of a run.
- ``tally``, ``audit``: what came out.
"""
