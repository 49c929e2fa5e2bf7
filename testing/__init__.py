"""What the tests of all packages share: servers that stand in, and programs run as processes."""
