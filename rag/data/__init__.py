"""Passages, questions and judgements, as files hold them."""
