"""Groups, shards, and the handover from one to the other, for any orchestrator.

`loads` has the two tasks that an orchestrator runs, `handover` what comes between them. All that
they share lies in PostgreSQL; a task leaves nothing on its machine.
"""
