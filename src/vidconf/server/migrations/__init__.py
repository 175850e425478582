"""The database's history. `storage.Storage.open` runs what is missing; a released revision is never edited."""
