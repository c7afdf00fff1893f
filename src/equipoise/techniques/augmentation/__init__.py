"""F. Data augmentation: batched on the device, each example its own draw."""
