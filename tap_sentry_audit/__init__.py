"""Singer tap for Sentry's organization audit log: every entry, once, in order.

The modules and packages from the top down; each imports only from those below it:

    __main__     the command: what a signal does before the tap takes over
    command      runs the tap, and explains errors
    tap          the tap: its streams
    connect      asks for the settings, tries them, and writes them into .env
    streams      the streams, as Singer messages; settings, state, signals
    audit_log    reads the audit log without loss
    api          Sentry's HTTP API
    console      how the log looks on stderr
    signals      what a signal does while there is no state to keep
    config       the table of settings
"""
