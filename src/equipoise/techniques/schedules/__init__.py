"""H. Schedules: how the learning rate shrinks."""
