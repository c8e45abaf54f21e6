"""The HTTP side of a process: one server in a thread of its own, and the routes that are registered with it."""
