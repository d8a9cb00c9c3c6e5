"""Where passages are kept beyond one machine: the Protocol of a store, and Milvus behind it."""
