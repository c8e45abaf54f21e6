"""Pictures for the README; the module with the name of a picture draws it from a real run."""
