"""Makes the folder of a new project."""
