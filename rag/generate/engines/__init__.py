"""Engines that run a language model: vLLM, a server that speaks the OpenAI protocol, transformers."""
