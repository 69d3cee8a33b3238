"""Values that every layer shares: requests, events, errors, conversations. Imports nothing else of the package."""
