"""Attacks the tap with random logs, servers and kills, and compares what a target got to the truth.

    make fuzz                        ten minutes, beside the version tagged before-the-rebuild
    make fuzz MINUTES=1 SEED=7       from another seed
    make fuzz AGAINST=v0.1.0         beside another revision of this repository
    make fuzz AGAINST=               this version alone

It knows the promise only: each entry once, none missing, whatever ended the runs. It imports
neither the tap nor the stand-in for Sentry (`fake_sentry`).

Each seed makes one scenario: the logs of one to three organizations, with ties and null rows;
a server with faults and a rate limit; and up to six runs of the tap into an append-only target,
some of them killed, while entries arrive, turn up late and are deleted. The last run is left in
peace, and after it the target must have every entry that the server can show.

With another version, each scenario is played three times: with either version alone, and with
the other version's state handed over to this one. In a calm scenario, without kills and without
changes during a run, both targets must hold the same messages, apart from `time_extracted` and
the field `additionalFields`. What the other version does wrong by itself is printed, but it is no
finding.
"""
