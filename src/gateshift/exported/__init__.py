"""Files that were exported, as models: with torch around them, or without."""
