"""Boards reached through the user's own OpenSSH: benched and examined there, several at a time.

Not for: measuring (``edgetl_device`` does that, on the board), and SSH itself (keys, hosts and jumps are the user's).
"""
