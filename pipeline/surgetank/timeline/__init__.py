"""The timeline of a pipeline: everything that changes the system, as events on one topic."""
