"""Reads the audit log without loss; knows no Singer."""
