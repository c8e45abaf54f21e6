"""The incident timeline: everything that changes the system, as events on one topic of each pipeline."""
