"""The pages that people see, made here and working without any script."""
