"""Pictures for the README, each made from a real run by a module of its name."""
