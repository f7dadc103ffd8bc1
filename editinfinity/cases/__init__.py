"""Cases: a photograph, prompts, masks; from folders, a table or PIE-Bench; making new ones."""
