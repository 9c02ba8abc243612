"""The revisions, oldest first by file name. A released one is never edited."""
