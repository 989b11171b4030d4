"""What has no idea of photos or models: files, folders, JSON and typed documents, child processes."""
