"""What a value is: Arrow types, their text, and rows as callers hold them. Pure."""
