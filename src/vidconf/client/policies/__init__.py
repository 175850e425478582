"""What administrators have set, read where each system keeps it: files, the registry, managed preferences."""
