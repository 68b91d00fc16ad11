"""Words to a recipe: verbs, parsing, help, resume."""
