"""Attacks the tap with random logs, servers and kills, and compares what a target got to the truth.

    make fuzz                        ten minutes
    make fuzz MINUTES=1 SEED=7       from another seed
    make fuzz AGAINST=v0.1.0         next to another revision of this repository

It knows the promise only: each entry once, none missing, whatever ended the runs; and no secret.
It imports neither the tap nor the stand-in for Sentry (`fake_sentry`).

Each seed makes one scenario: the logs of one to three organizations, with ties and null rows, or
long and with gaps; a server with faults, a rate limit and seconds in which it is busy; and up to
six runs of the tap into an append-only target, some of them killed at a time, a request or a byte
of stdout, while entries arrive, turn up late and are deleted. The last run is left in peace, and
after it the target must have every entry that the server can show.

Each STATE of each run is checked too (`state`): a run that went on from it would lose nothing and
repeat nothing.

With another version, each scenario is played three times: with either version alone, and with
the other version's state handed over to this one. In a calm scenario, without kills and without
changes during a run, both targets must hold the same messages, apart from `time_extracted` and
the field `additionalFields`. What the other version does wrong by itself is printed, but it is no
finding.
"""
