"""What hosts need to follow a table: each in a file, with the standard library and the host alone.

No host is a dependency: a file here imports its host when it is used, never before.
"""
