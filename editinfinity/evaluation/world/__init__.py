"""What the bundled model knows, and a judge of its pictures. Ours alone: no benchmark has it."""
