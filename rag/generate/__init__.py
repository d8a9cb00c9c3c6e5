"""From contexts to a cited answer: prompts, generators, and the answer parser."""
