"""The HTTP side of a process: one server in its own thread, and the routes registered with it."""
