"""What exercises and checks a running system: replay, audit, demo, chaos."""
