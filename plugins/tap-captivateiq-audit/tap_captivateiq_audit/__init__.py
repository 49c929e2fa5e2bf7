"""Singer tap for CaptivateIQ's audit log: every entry, once, in order.

The modules from the top down; each imports only from modules below it:

    __main__     the command: what a signal does before the tap takes over
    command      runs the tap, and explains errors
    tap          the tap: settings, state, signals
    stream       the stream audit_logs: records, and the bookmark in the state
    messages     Singer messages on stdout
    state        checks the state that a run is given
    bookmark     how far the log was delivered
    records      an entry as a Singer record
    reader       reads the entries of a range of days from any server
    days         reads the entries of some days whole
    flaws        what is wrong with what the API shows
    client       CaptivateIQ's HTTP API
    rate_limit   when a request may start
    config       the table of settings
    signals      signals that stop a run, deferred
    clock        what time it is, and how to wait
    entries      entries, pages and days, as the API has them
    exceptions   what can go wrong
"""
