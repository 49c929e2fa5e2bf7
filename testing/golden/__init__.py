"""What the tap writes to stdout, and its exit code, kept as files: any change of them is seen.

    python -m testing.golden            compare, and name the cases that differ
    python -m testing.golden --write    regenerate the files
    python -m testing.golden stops      the cases whose names begin with "stops" alone

Each case in `cases` plays one or more runs of the tap against a local server; the messages of each
run and its exit code are one file in `files`, named after the case. The tap is driven from
outside only: as a process, through files, HTTP and signals.

Lines are kept as the tap wrote them: order of keys, number formats and all. Only what cannot be
the same twice is replaced: `time_extracted`, the server's port, and the versions in --about.

`recorded` holds answers of a real Sentry 23.7.1, cut to a few rows. `state-0.1.0.json` is a STATE
that version 0.1.0 of the tap wrote (commit cc9ae8e).
"""
