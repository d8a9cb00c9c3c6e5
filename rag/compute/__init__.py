"""What runs encoders fast: the hardware, batches by length, compiled graphs."""
