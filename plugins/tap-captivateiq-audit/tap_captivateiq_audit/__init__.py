"""Singer tap for CaptivateIQ's audit log: every entry, once, in order."""
