"""What tests share: servers, an attacker's tools, values, and small lakes."""
