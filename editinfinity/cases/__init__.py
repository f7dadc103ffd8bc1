"""Cases (photograph, prompts, masks): loading from folders, tables or PIE-Bench; creation."""
