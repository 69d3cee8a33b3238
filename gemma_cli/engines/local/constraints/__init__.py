"""Rules that a reply must follow: JSON schemas, thinking budgets."""
