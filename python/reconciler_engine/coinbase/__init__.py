"""The exchange's door: its URLs, seconds, strings and errors end in this room."""
