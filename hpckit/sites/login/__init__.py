"""Logins to clusters by the system's OpenSSH: names, sessions, checks. Nothing secret is ever stored or sent."""
