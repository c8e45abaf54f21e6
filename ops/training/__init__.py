"""The scripts that make model bundles."""
