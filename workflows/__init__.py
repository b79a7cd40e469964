"""What happens later, again, or until someone answers (Temporal)."""
