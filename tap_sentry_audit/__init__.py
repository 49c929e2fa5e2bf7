"""Singer tap for Sentry's organization audit log."""
