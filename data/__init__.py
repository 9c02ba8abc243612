"""The pure domain: vocabulary, ingestion, cleaning, splitting, curation, statistics. Imports no sibling."""
