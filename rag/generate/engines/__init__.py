"""Engines that run a language model: vLLM, CTranslate2, transformers, a server that speaks the OpenAI protocol."""
