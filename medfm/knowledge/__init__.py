"""Clinical knowledge as cited YAML, and the prompts built from it."""
