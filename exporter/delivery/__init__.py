"""Bus → connector. ``engine`` runs one target; ``redrive`` sends dead letters again.

::

    polling thread (poller)            event loop
    EventReader.poll ──► LaneWorker (one per lane, in order) ──► gate ──► connector.deliver
         ▲   pause/resume by bytes          │ breakers, adaptive limit
         └── commit ◄── receipts ◄── offsets ledger ◄── stored / dead letters (durable first)
"""
