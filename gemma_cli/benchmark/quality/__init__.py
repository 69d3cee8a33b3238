"""Quality next to speed: data sets as they come, and scores of replies against their references."""
