"""What a verb does, in steps."""
