"""Singer target for OpenTelemetry: any stream to an OTLP receiver, as log records.

The modules from the top down; each imports only from modules below it:

    __main__     the command: what a signal does before the target takes over
    command      runs the target, and explains errors
    target       the target and its sinks
    messages     Singer messages from stdin, and states to stdout
    delivery     batches of records, and the states that wait for them
    rejections   the file of rejected records
    receiver     sends a request until it is accepted or refused
    transport    HTTP connections that refuse a truncated response
    responses    parses what receivers answer
    progress     lines about how far the run is
    redaction    what may be shown of a receiver's words
    mapping      a record as a log record
    values       JSON values as OpenTelemetry's
    signals      stops a run where it only waits
    config       the table of settings
    log_mapping  the setting that says where a log record's parts come from
    parsers      what the other settings can be
    clock        what time it is, and how to wait
"""
