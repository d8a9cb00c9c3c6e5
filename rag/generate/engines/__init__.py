"""What runs a language model: vLLM, a server that speaks the OpenAI protocol, transformers."""
