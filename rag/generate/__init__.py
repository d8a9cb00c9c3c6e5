"""From contexts to a cited answer: prompts, what fits into the window, generators, and the answer parser."""
