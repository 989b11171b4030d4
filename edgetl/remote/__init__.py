"""Boards reached through the user's own OpenSSH: benched and examined there, several at a time."""
