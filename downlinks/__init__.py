"""The queue of instructions per device and its execution."""
