"""Singer target for OpenTelemetry: any stream to an OTLP receiver, as log records."""
