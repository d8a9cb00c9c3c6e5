"""Running encoders fast: the hardware, batches of similar length, compiled graphs."""
