"""Singer mapper: Sentry's audit log as events of the Open Cybersecurity Schema Framework.

The modules from the top down; each imports only from modules below it:

    __main__     the command: what a signal does before the mapper takes over
    command      runs the mapper, and reports errors
    mapper       the mapper: what each message turns into
    messages     lines of Singer messages, in and out
    streams      the streams that events go into, and their schemas
    events       an entry of the audit log as an event
    table        table.json: what each of Sentry's events is in OCSF
    signals      ends a run that was asked to stop
    config       the table of settings
"""
